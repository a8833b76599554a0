// What a probe of a real server found, as lines.
import type { Probed, ProbeReport } from '../admin/sources.ts';
import { plural } from './units.ts';

export type { ProbeReport };

export function probeLines(report: ProbeReport): string[] {
  const { service, from, to, dialect, payloadBytes, plain, uoa, text } = report;
  const asked = plural(payloadBytes, 'byte');
  const told =
    uoa === null
      ? []
      : [
          `  with UOA     ${found(uoa, report)}${uoa.isAcked ? ', acknowledged' : ''}${uoa.isCarrier ? ' (a carrier)' : ''}`,
        ];
  return [
    `${service} ${to}, dialect ${dialect}, asked from ${from} with ${asked}`,
    `  without UOA  ${found(plain, report)}`,
    ...told,
    text,
  ];
}

function found({ result, afterMs, bytes, icmp }: Probed, { timeoutMs }: ProbeReport): string {
  if (result === 'silent') return `no answer within ${timeoutMs} ms`;
  const what = result === 'answered' ? `answered with ${plural(bytes ?? 0, 'byte')}` : `refused: ${icmp}`;
  return `${what}, after ${afterMs} ms`;
}
