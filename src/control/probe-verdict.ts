// What follows from what came back of a probe, in a word for scripts and in a sentence for people.
import type { Probed, ProbeReport } from '../admin/sources.ts';
import { type UoaDialect, whatToCheck } from '../uoa/dialect.ts';
import type { UoaForm } from '../uoa/form.ts';
import type { Family } from '../wire/address.ts';
import * as ipv4 from '../wire/ipv4.ts';

type Verdict = Pick<ProbeReport, 'verdict' | 'text'>;
type Told = NonNullable<ProbeReport['uoa']>;

/** What stands in a packet with a UOA that a path may drop, in words. */
const carried = (form: UoaForm, family: Family): string =>
  form.place === ipv4.PROTOCOL_OPP ? 'protocol 248' : family === 4 ? 'IP options' : 'destination options';

/** `form` is how the UOA was sent; undefined: there was none. */
export function verdictOf(
  plain: Probed,
  uoa: Told | undefined,
  form: UoaForm | undefined,
  family: Family,
  dialect: string,
): Verdict {
  if (uoa === undefined || form === undefined) return ofPlain(plain, dialect);
  const what = carried(form, family);
  if (uoa.result === 'answered') return plain.result === 'answered' ? both(uoa, what) : onlyUoa(what);
  if (plain.result === 'refused')
    return {
      verdict: 'refused',
      text: `Refused (${plain.icmp}): nothing serves there, or a firewall says no.`,
    };
  if (uoa.result === 'refused')
    return {
      verdict: 'uoa_refused',
      text: `Packets with ${what} are refused (${uoa.icmp}), others are not: check ${whatToCheck(dialect as UoaDialect)}.`,
    };
  if (plain.result === 'silent') return silent('Neither is answered');
  if (uoa.isAcked) return { verdict: 'ok', text: `The UOA came through: the real server acknowledged it.` };
  if (uoa.isCarrier)
    return {
      verdict: 'unknown',
      text: `The plain one is answered. Over IPv6 opp goes in packets of its own, which nobody has to answer: whether ${what} comes through cannot be told.`,
    };
  return {
    verdict: 'uoa_dropped',
    text: `Only the plain one is answered: a path that drops packets with ${what}, or a real server that does not take them. Check ${whatToCheck(dialect as UoaDialect)}, and every firewall and cloud network between. With uoa.carriage: carrier no client's datagram is lost by it.`,
  };
}

const silent = (what: string): Verdict => ({
  verdict: 'silent',
  text: `${what}, which says nothing of the path: send what the real server answers (--send, or health.send), or see whether it lets this LIP in.`,
});

function ofPlain({ result, icmp }: Probed, dialect: string): Verdict {
  if (result === 'refused')
    return { verdict: 'refused', text: `Refused (${icmp}): nothing serves there, or a firewall says no.` };
  if (result === 'silent') return silent('It is not answered');
  return {
    verdict: 'ok',
    text: `It is answered. Dialect ${dialect} puts nothing into the IP header that a path could drop.`,
  };
}

function both({ isAcked }: Told, what: string): Verdict {
  const text = `Both are answered: packets with ${what} come through.`;
  return {
    verdict: 'ok',
    text: isAcked
      ? `${text} The real server acknowledged the UOA.`
      : `${text} No echo ACK came, so whether it reads the UOA cannot be told.`,
  };
}

const onlyUoa = (what: string): Verdict => ({
  verdict: 'only_uoa',
  text: `Only the one with UOA is answered: packets with ${what} come through, and the real server answers nobody whom it does not know.`,
});
