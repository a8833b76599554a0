// The kinds of health checks.
import { execProbe } from './exec.ts';
import { httpProbe } from './http.ts';
import { icmpProbe } from './icmp.ts';
import type { HealthConfig, Probe } from './probe.ts';
import { tcpProbe } from './tcp.ts';
import { udpProbe } from './udp.ts';

/** The check of `health`; undefined for none. Its targets are asked at health.port, where that is given. */
export function makeProbe(health: HealthConfig): Probe | undefined {
  const probe = probeOf(health);
  const { port } = health;
  if (probe === undefined || port === undefined) return probe;
  return (target, signal) => {
    // Another port is another program's, perhaps.
    const isProxied = target.isProxied === true && port === target.port;
    return probe({ ...target, port, isProxied }, signal);
  };
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
