// What the rules of policy routing (ip-rule(8)) leave to the table main. A rule asked before it that may decide about a
// packet of this program takes its destinations away from us; the rules asked after it matter only where there is no
// route.
import { formatAddress } from '../wire/address.ts';
import { TABLE_LOCAL, TABLE_MAIN } from './rtnetlink.ts';
import type { Rule } from './rule-message.ts';

/** A prefix about which the table main does not decide. */
export interface Exception {
  isV4: boolean;
  words: Int32Array;
  /** As in RouteMessage. */
  prefixLen: number;
  /** For the operator; '' when there is nothing to tell. */
  reason: string;
}

/** The exceptions that these rules, which are all of them, make. */
export function exceptionsOf(rules: readonly Rule[]): Exception[] {
  return [true, false].flatMap((isV4) =>
    ofFamily(
      isV4,
      rules.filter((rule) => rule.isV4 === isV4),
    ),
  );
}

function ofFamily(isV4: boolean, rules: readonly Rule[]): Exception[] {
  const family = isV4 ? 'IPv4' : 'IPv6';
  const main = rules.filter(asksMain).reduce((lowest, { priority }) => Math.min(lowest, priority), Infinity);
  if (main === Infinity) {
    // Without any rule the host has no such family.
    const reason = rules.length === 0 ? '' : `no ${family} rule looks up the table main`;
    return [everything(isV4, reason)];
  }
  return rules
    .filter((rule) => rule.priority <= main && mayDecide(rule))
    .map((rule) => {
      const name = `the ${family} rule ${rule.priority}`;
      if (rule.isInverted || isEverything(rule))
        return everything(isV4, `${name} decides about all destinations`);
      const { dst, prefixLen } = rule;
      const prefix = `${formatAddress(dst, 0)}/${isV4 ? prefixLen - 96 : prefixLen}`;
      return { isV4, words: dst, prefixLen, reason: `${name} decides about ${prefix}` };
    });
}

/**
 * Whoever asks the table main, and when, it finds the same; what the table local finds is nothing for us wherever it is
 * asked.
 */
function mayDecide(rule: Rule): boolean {
  const { isLookup, table, suppresses, isInverted, isForOthers } = rule;
  if (isLookup && !suppresses && (table === TABLE_MAIN || table === TABLE_LOCAL)) return false;
  return isInverted || !isForOthers;
}

function asksMain(rule: Rule): boolean {
  const { isLookup, table, isInverted, isForOthers, hasOtherSelector, suppresses } = rule;
  if (isInverted || isForOthers || hasOtherSelector || suppresses || !isEverything(rule)) return false;
  return isLookup && table === TABLE_MAIN;
}

function isEverything({ isV4, prefixLen }: Rule): boolean {
  return prefixLen === (isV4 ? 96 : 0);
}

function everything(isV4: boolean, reason: string): Exception {
  return { isV4, words: Int32Array.of(0, 0, isV4 ? 0xffff : 0, 0), prefixLen: isV4 ? 96 : 0, reason };
}
