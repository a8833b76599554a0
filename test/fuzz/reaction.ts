// Somebody reacts to what the proxy sent last: packets that only whoever received it can make.
import { icmp4 } from '../packets/builder.ts';
import { icmp6 } from '../packets/builder6.ts';
import { type Family, familyOf, pattern } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { udp, uoaOf } from '../packets/uoa-builder.ts';
import type { REACTIONS } from './input.ts';
import type { Delivery, Model } from './model.ts';

interface Reaction {
  from: 'wan' | 'lan';
  packet: Uint8Array;
}

const CLOSED = { 4: [3, 3, 0], 6: [1, 4, 0] } as const;
const TOO_BIG = { 4: [3, 4, 600], 6: [2, 0, 1300] } as const;
const UNKNOWN_PROTOCOL = { 4: [3, 2, 0], 6: [4, 1, 6] } as const;
const UNKNOWN_OPTION = { 4: [12, 0, 20 * 0x1000000], 6: [4, 2, 42] } as const;

/** Undefined when nothing was sent that one could react to. */
export function react(what: (typeof REACTIONS)[number], model: Model): Reaction | undefined {
  const { delivery, told, answer } = model;
  if (what === 'clientClosed') return answer && { from: 'wan', packet: error(answer, CLOSED) };
  if (!delivery) return undefined;
  switch (what) {
    case 'reply':
      return { from: 'lan', packet: reply(delivery, pattern(11).reverse()) };
    case 'ack':
      return told && { from: 'lan', packet: ack(told, model) };
    case 'refusal': {
      const packet = (told ?? delivery).packet;
      const isOption = (told?.form ?? 'opp') !== 'opp';
      return { from: 'lan', packet: error(packet, isOption ? UNKNOWN_OPTION : UNKNOWN_PROTOCOL) };
    }
    case 'tooBig':
      return { from: 'lan', packet: error(delivery.packet, TOO_BIG) };
    case 'closed':
      return { from: 'lan', packet: error(delivery.packet, CLOSED) };
  }
}

function reply({ packet }: Delivery, payload: Uint8Array, uoa?: Parameters<typeof udp>[1]): Uint8Array {
  const { src, sport, dst, dport } = dissect(packet);
  return udp({ src: dst, sport: dport, dst: src, dport: sport, payload }, uoa);
}

function ack(told: Delivery, model: Model): Uint8Array {
  const family = familyOf(dissect(told.packet).src);
  const uoa = told.form && uoaOf(told.form, family, model.named(told.client));
  return reply(told, new Uint8Array(0), uoa);
}

/** From the one who received `about` to its sender. */
function error(about: Uint8Array, kinds: Record<Family, readonly [number, number, number]>): Uint8Array {
  const { src, dst, family } = dissect(about);
  const [type, code, rest] = kinds[family];
  const fields = { src: dst, dst: src, type, code, rest };
  if (family === 4) return icmp4({ ...fields, body: about.slice(0, 548) });
  return icmp6({ ...fields, body: about.slice(0, 1232) });
}
