// Check by UDP: one datagram from a connected socket, so that the kernel lets in what the server sends back,
// and nothing else. Without `expect` only an ICMP error is a failure: a server that is silent may just have
// nothing to say.
import { createSocket } from 'node:dgram';
import { openUdpSocket } from '../sys/udp-socket.ts';
import { LOCAL_HEADER } from '../uoa/proxy-v2.ts';
import { familyOf } from '../wire/address.ts';
import { attempt, inWords, quotable } from './attempt.ts';
import type { HealthConfig, Probe, ProbeResult } from './probe.ts';

/**
 * Wrong replies to one check after which it does not wait for a right one: matching them must have an end.
 */
const WRONG_MAX = 100;

export function udpProbe({ timeout, send, expect }: HealthConfig): Probe {
  const plain = send ?? new Uint8Array(0);
  // The proxy asks for itself, not for a client.
  const proxied = Buffer.concat([LOCAL_HEADER, plain]);
  const isRight = matcher(expect);
  return ({ ip, port, isProxied }, signal) => {
    const payload = isProxied ? proxied : plain;
    let wrong: Buffer | undefined;
    const late = (): ProbeResult => {
      if (expect === undefined) return { ok: true };
      return { ok: false, reason: wrong ? unexpected(wrong) : `no reply within ${inWords(timeout)}` };
    };
    return attempt(
      { timeoutMs: timeout, signal, refused: 'port unreachable', late },
      ({ succeed, fail, error }) => {
        const family = familyOf(ip);
        const fd = openUdpSocket(family);
        const socket = createSocket({ type: family === 6 ? 'udp6' : 'udp4' });
        let wrongs = 0;
        socket
          .on('error', error)
          .on('message', (reply) => {
            if (isRight(reply)) return succeed();
            wrong = reply;
            if (++wrongs === WRONG_MAX) fail(unexpected(reply));
          })
          .on('connect', () => {
            socket.send(payload, (failure) => {
              if (failure) error(failure);
            });
          })
          .on('listening', () => socket.connect(port, ip))
          .bind({ fd });
        return () => socket.close();
      },
    );
  };
}

function matcher(expect: HealthConfig['expect']): (reply: Buffer) => boolean {
  if (expect === undefined) return () => true;
  if (expect.kind === 'bytes') return (reply) => reply.equals(expect.bytes);
  const pattern = new RegExp(expect.source, 's');
  return (reply) => pattern.test(reply.toString('latin1'));
}

function unexpected(reply: Buffer): string {
  const text = quotable(reply.toString('latin1', 0, 40));
  return `reply of ${reply.length} bytes is not what is expected: "${text}"`;
}
