// The table of dialects: all that is known of one besides its bytes, which are in a file of its own. Config,
// docs, admin, lab and datapath read it; so a new dialect is a file here and a row. Who reads captures is to
// be taught it apart (sniff/uoa-option.ts, docker/wireshark/uoa.lua): witnesses share nothing with what they
// see. Layouts: docs/wire-formats.md.
import type { Family } from '../wire/address.ts';
import { elbOverIpv6 } from './elb.ts';
import type { UoaForms } from './form.ts';
import { ipoOverIpv4 } from './ipo.ts';
import { oppOverIpv4, oppOverIpv6 } from './opp.ts';
import { type UnifiedType, unifiedOverIpv4, unifiedOverIpv6 } from './unified.ts';

interface Dialect {
  /** Behind its name in the docs of the config. */
  readonly about: string;
  /** What to check of a real server that says it cannot read it. */
  readonly check: string;
  /**
   * What the option inside means; undefined: its real servers know it by something else. Two dialects whose
   * options have one type and different meanings must not go to one host.
   */
  readonly option: 'address' | 'endpoints' | undefined;
  /** The option's type is uoa.unifiedType; without it OPTION_TYPE. */
  readonly hasUnifiedType?: true;
  /** It stands in the payload (proxy-v2.ts), over either family, and has no forms. */
  readonly isInPayload?: true;
  /** What is written towards real servers of a family; undefined where no receiver reads it. */
  forms(over: Family, unifiedType: UnifiedType): UoaForms | undefined;
}

const DIALECTS = {
  ipo: {
    about: 'IPv4 option 31; not over IPv6',
    check: 'that it and the firewalls before it accept IP options, and that its kernel module is one for ipo',
    option: 'address',
    forms: (over) => (over === 4 ? ipoOverIpv4 : undefined),
  },
  opp: {
    about:
      'protocol 248 header; over IPv6 only in packets of its own, because in large datagrams it crashes the receivers there are',
    // A kernel without a module passes options on; for protocol 248 it answers that there is none.
    check: 'that its kernel module for opp is loaded, and that no firewall before it refuses protocol 248',
    option: undefined,
    forms: (over) => (over === 4 ? oppOverIpv4 : oppOverIpv6),
  },
  elb: {
    about: 'as ipo, over IPv6 a destination option',
    check:
      'that it and the firewalls before it accept IP options and destination options, and that its kernel module is one for elb',
    option: 'address',
    forms: (over) => (over === 4 ? ipoOverIpv4 : elbOverIpv6),
  },
  unified: {
    about: 'as elb, but with the VIP too, in another form',
    check:
      'that it and the firewalls before it accept IP options and destination options, and that its kernel module is one for unified',
    option: 'endpoints',
    hasUnifiedType: true,
    forms: (over, unifiedType) => (over === 4 ? unifiedOverIpv4(unifiedType) : unifiedOverIpv6(unifiedType)),
  },
  'proxy-v2': {
    about: 'PROXY protocol v2 before the payload, for programs that read it over UDP',
    check: 'that it expects PROXY protocol v2 from the lips',
    option: undefined,
    isInPayload: true,
    forms: () => undefined,
  },
} as const satisfies Record<string, Dialect>;

export type UoaDialect = keyof typeof DIALECTS;

/** Which datagrams of a session bring the header of proxy-v2: all, or the first ones, as trials of a UOA. */
export const PROXY_V2_MODES = ['every', 'first'] as const;
export type ProxyV2Mode = (typeof PROXY_V2_MODES)[number];

const TABLE: Record<UoaDialect, Dialect> = DIALECTS;
const OPTION_TYPE = 31;

/** Which packets may have a UOA (uoa/receiver.ts). */
export const CARRIAGES = ['auto', 'inserted', 'carrier'] as const;
export type Carriage = (typeof CARRIAGES)[number];

export const UOA_DIALECTS = Object.keys(DIALECTS) as [UoaDialect, ...UoaDialect[]];
export const DEFAULT_DIALECT = 'ipo' satisfies UoaDialect;

/**
 * A number below 16 for it, which outlives processes (fast/heritage.ts): the order of the table is kept, what
 * is new comes last. 0: nothing is told.
 */
export const dialectNumber = (dialect: UoaDialect | 'none'): number =>
  dialect === 'none' ? 0 : 1 + UOA_DIALECTS.indexOf(dialect);

export const aboutDialect = (dialect: UoaDialect): string => TABLE[dialect].about;
export const whatToCheck = (dialect: UoaDialect): string => TABLE[dialect].check;
export const hasUnifiedType = (dialect: UoaDialect): boolean => TABLE[dialect].hasUnifiedType === true;
export const isInPayload = (dialect: UoaDialect | 'none'): boolean =>
  dialect !== 'none' && TABLE[dialect].isInPayload === true;

/** Those that a real server can say that it cannot read, and can be given instead. */
export const FALLBACK_DIALECTS = UOA_DIALECTS.filter((dialect) => !isInPayload(dialect)) as [
  FallbackDialect,
  ...FallbackDialect[],
];
export type FallbackDialect = {
  [Name in UoaDialect]: (typeof DIALECTS)[Name] extends { isInPayload: true } ? never : Name;
}[UoaDialect];

/** The forms of a dialect towards real servers of a family; undefined where no receiver reads it. */
export const uoaForms = (dialect: UoaDialect, over: Family, unifiedType: UnifiedType): UoaForms | undefined =>
  TABLE[dialect].forms(over, unifiedType);

/** Type and meaning of its option; undefined: it has none. */
export function uoaOption(
  dialect: UoaDialect,
  unifiedType: UnifiedType,
): { type: number; meaning: string } | undefined {
  const meaning = TABLE[dialect].option;
  return meaning && { type: hasUnifiedType(dialect) ? unifiedType : OPTION_TYPE, meaning };
}

/** Whether a receiver reads it on real servers of the family. */
export const isReadOver = (dialect: UoaDialect, over: Family): boolean =>
  isInPayload(dialect) || uoaForms(dialect, over, OPTION_TYPE) !== undefined;

/** Whether a real server of the family sees no difference between the two. */
export function isSameOver(a: UoaDialect, b: UoaDialect, over: Family): boolean {
  const forms = uoaForms(a, over, OPTION_TYPE);
  return a === b || (forms !== undefined && forms === uoaForms(b, over, OPTION_TYPE));
}

/** `over IPv4 ipo and elb are the same` */
export function sameDialects(): string[] {
  return ([4, 6] as const).flatMap((over) =>
    UOA_DIALECTS.flatMap((a, index) =>
      UOA_DIALECTS.slice(index + 1)
        .filter((b) => isSameOver(a, b, over))
        .map((b) => `over IPv${over} ${a} and ${b} are the same`),
    ),
  );
}

/** `opp, elb or unified` */
export const oneOfWords = (words: readonly string[]): string =>
  words.join(', ').replace(/, (\S+)$/, ' or $1');
