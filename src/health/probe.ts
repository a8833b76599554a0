// What a health check is. It says whether a real server works; where this host cannot ask (no descriptors
// left, no such program), that says nothing about the server: the check throws CannotCheck.
import type { ServiceConfig } from '../config/schema.ts';

export type HealthConfig = ServiceConfig['health'];

/** `reason` is words for the log: `no reply within 1s`. */
export type ProbeResult = { ok: true } | { ok: false; reason: string };

export interface ProbeTarget {
  service: string;
  ip: string;
  port: number;
  /** What it is sent over UDP at this port begins with a header of PROXY protocol v2 (dialect proxy-v2). */
  isProxied?: boolean;
}

/**
 * Checks once, for at most health.timeout (a program may wait for its turn before that), or until `signal` is
 * aborted: then the result has no meaning. Rejects with CannotCheck.
 */
export type Probe = (target: ProbeTarget, signal: AbortSignal) => Promise<ProbeResult>;
