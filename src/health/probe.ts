// What a health check is, and the table of its kinds. A check says whether a real server works; where this host cannot ask
// (no descriptors left, no such program), that says nothing about the server: the check throws CannotCheck.
import type { ServiceConfig } from '../config/schema.ts';
import { execProbe } from './exec.ts';
import { httpProbe } from './http.ts';
import { icmpProbe } from './icmp.ts';
import { tcpProbe } from './tcp.ts';
import { udpProbe } from './udp.ts';

export type HealthConfig = ServiceConfig['health'];

/** `reason` is words for the log: `no reply within 1s`. */
export type ProbeResult = { ok: true } | { ok: false; reason: string };

export interface ProbeTarget {
  service: string;
  ip: string;
  port: number;
}

/**
 * Checks once, for at most health.timeout (a program may wait for its turn before that), or until `signal` is aborted:
 * then the result has no meaning. Rejects with CannotCheck.
 */
export type Probe = (target: ProbeTarget, signal: AbortSignal) => Promise<ProbeResult>;

/** The check of `health`; undefined for none. Its targets are asked at health.port, where that is given. */
export function makeProbe(health: HealthConfig): Probe | undefined {
  const probe = probeOf(health);
  const { port } = health;
  if (probe === undefined || port === undefined) return probe;
  return (target, signal) => probe({ ...target, port }, signal);
}

function probeOf(health: HealthConfig): Probe | undefined {
  switch (health.type) {
    case 'none':
      return undefined;
    case 'udp':
      return udpProbe(health);
    case 'tcp':
      return tcpProbe(health);
    case 'http':
      return httpProbe(health);
    case 'icmp':
      return icmpProbe(health);
    case 'exec':
      return execProbe(health);
  }
}
