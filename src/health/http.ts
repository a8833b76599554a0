// Check by HTTP: GET, no redirect is followed, and the status decides once the answer is complete or 64 KiB
// of its body have come. Bodies are not looked at, and nothing that a server sends is kept.
import { type IncomingMessage, request } from 'node:http';
import { formatEndpoint } from '../wire/address.ts';
import { attempt, inWords } from './attempt.ts';
import type { HealthConfig, Probe, ProbeResult } from './probe.ts';

const BODY_MAX = 65_536;
const HEADER_MAX = 16_384;
/** Answers 1xx ahead of the real one. */
const INFORMATION_MAX = 10;

export function httpProbe({ timeout, path, status }: HealthConfig): Probe {
  return ({ ip, port }, signal) => {
    let began = false;
    const late = (): ProbeResult => ({
      ok: false,
      reason: began
        ? `answer not complete within ${inWords(timeout)}`
        : `no answer within ${inWords(timeout)}`,
    });
    return attempt(
      { timeoutMs: timeout, signal, refused: 'connection refused', late },
      ({ succeed, fail, error }) => {
        const judge = ({ statusCode = 0 }: IncomingMessage) => {
          if (statusCode >= status.first && statusCode <= status.last) return succeed();
          const expected = status.first === status.last ? status.first : `${status.first}-${status.last}`;
          fail(`status ${statusCode}, expected ${expected}`);
        };
        const headers = { Host: formatEndpoint(ip, port), 'User-Agent': 'uoa-proxy', Connection: 'close' };
        const asked = request({ host: ip, port, path, headers, agent: false, maxHeaderSize: HEADER_MAX });
        let informed = 0;
        asked
          .on('information', () => {
            if (++informed > INFORMATION_MAX) fail('too many answers 1xx');
          })
          .on('upgrade', judge)
          .on('response', (answer) => {
            began = true;
            let received = 0;
            answer
              .on('data', (chunk: Buffer) => {
                received += chunk.length;
                if (received > BODY_MAX) judge(answer);
              })
              .on('end', () => judge(answer))
              .on('error', error);
          })
          .on('error', (failure) => {
            const { code } = failure as NodeJS.ErrnoException;
            if (code?.startsWith('HPE_')) fail(`no valid HTTP answer (${code})`);
            else error(failure);
          })
          .on('close', () => fail('connection ended early'))
          .end();
        return () => asked.destroy();
      },
    );
  };
}
