// Check by TCP: a connection that is accepted is a success and closed at once, without a byte.
import { connect } from 'node:net';
import { attempt } from './attempt.ts';
import type { HealthConfig, Probe } from './probe.ts';

export function tcpProbe({ timeout }: HealthConfig): Probe {
  return ({ ip, port }, signal) =>
    attempt({ timeoutMs: timeout, signal, refused: 'connection refused' }, ({ succeed, error }) => {
      const socket = connect({ host: ip, port }).on('connect', succeed).on('error', error);
      return () => socket.destroy();
    });
}
