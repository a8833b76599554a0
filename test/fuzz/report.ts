// A failure in words: the property, the packets as hex and taken apart, and what was sent.
import { hex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import type { Step } from './input.ts';
import { read } from './reader.ts';
import type { Failure } from './search.ts';

const HEX_MAX = 400;

export function describeFailure({ input, violation }: Failure): string {
  const { outcome, stepIndex, message, cause } = violation;
  const place =
    cause instanceof Error
      ? (cause.stack ?? '').split('\n').filter((line) => /\/(src|test)\//.test(line))
      : [];
  const sent = (outcome?.attempts ?? []).map(
    ({ packet, wasSent }) => `  ${wasSent ? 'sends' : 'cannot send'} ${describePacket(packet)}`,
  );
  return [
    `FAILED  ${message}`,
    ...place.slice(0, 3).map((line) => `  ${line.trim()}`),
    `World: ${JSON.stringify(input.world)}`,
    ...input.steps.map((step, index) => describeStep(step, index, index === stepIndex)),
    ...(stepIndex >= input.steps.length ? ['It shows when everything has expired.'] : []),
    ...(outcome
      ? [`Then: ${outcome.verdict}, counted ${JSON.stringify({ ...outcome.changed, ...outcome.drops })}`]
      : []),
    ...sent,
  ].join('\n');
}

function describeStep({ wait, what, packet, refuse }: Step, index: number, isLast: boolean): string {
  const after = wait > 0 ? ` after ${wait} ms` : '';
  const refused = refuse > 0 ? ` (sends that fail: bits ${refuse.toString(2)})` : '';
  const content = what === 'wan' || what === 'lan' ? ` ${describePacket(packet)}` : '';
  return `${isLast ? '->' : '  '} ${index + 1}. ${what}${after}${refused}${content}`;
}

function describePacket(packet: Uint8Array): string {
  const text = hex(packet);
  const short = text.length > HEX_MAX ? `${text.slice(0, HEX_MAX)}.. (${packet.length} bytes)` : text;
  return `${describeHeader(packet)}\n       ${short}`;
}

/** The strict dissection, or as much as can be read, or why nothing can. */
function describeHeader(packet: Uint8Array): string {
  const brief = (_key: string, value: unknown) =>
    typeof value === 'string' && value.length > 80 ? `${value.slice(0, 80)}..` : value;
  try {
    return JSON.stringify(dissect(packet, { fragment: true }), brief);
  } catch (error) {
    const seen = read(packet);
    const why = error instanceof Error ? error.message : String(error);
    return seen
      ? `${seen.src} -> ${seen.dst} protocol ${seen.proto} (${why})`
      : `not to be taken apart (${why})`;
  }
}
