// The table of dialects: what each writes towards real servers of each family. Layouts: docs/wire-formats.md.
import type { Family } from '../wire/address.ts';
import { elbOverIpv6 } from './elb.ts';
import type { UoaForms } from './form.ts';
import { ipoOverIpv4 } from './ipo.ts';
import { oppOverIpv4, oppOverIpv6 } from './opp.ts';
import { type UnifiedType, unifiedOverIpv4, unifiedOverIpv6 } from './unified.ts';

export const UOA_DIALECTS = ['ipo', 'opp', 'elb', 'unified'] as const;
export type UoaDialect = (typeof UOA_DIALECTS)[number];

/** The forms of a dialect towards real servers of a family; undefined where no receiver reads it. */
export function uoaForms(dialect: UoaDialect, over: Family, unifiedType: UnifiedType): UoaForms | undefined {
  switch (dialect) {
    case 'ipo':
      return over === 4 ? ipoOverIpv4 : undefined;
    case 'opp':
      return over === 4 ? oppOverIpv4 : oppOverIpv6;
    case 'elb':
      return over === 4 ? ipoOverIpv4 : elbOverIpv6;
    case 'unified':
      return over === 4 ? unifiedOverIpv4(unifiedType) : unifiedOverIpv6(unifiedType);
  }
}
