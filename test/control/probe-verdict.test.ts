import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Probed, ProbeReport } from '../../src/admin/sources.ts';
import { verdictOf } from '../../src/control/probe-verdict.ts';
import { type UoaDialect, uoaForms } from '../../src/uoa/dialect.ts';
import type { Family } from '../../src/wire/address.ts';

const answered: Probed = { result: 'answered', afterMs: 1, bytes: 4, icmp: null, isAcked: false };
const silent: Probed = { result: 'silent', afterMs: null, bytes: null, icmp: null, isAcked: false };
const refused = (icmp: string): Probed => ({ ...silent, result: 'refused', afterMs: 1, icmp });

describe('what a probe says', () => {
  const rows: [
    name: string,
    over: Family,
    dialect: UoaDialect,
    plain: Probed,
    uoa: Probed,
    verdict: ProbeReport['verdict'],
    text: RegExp,
  ][] = [
    ['both are answered', 4, 'ipo', answered, answered, 'ok', /IP options come through.*No echo ACK/],
    ['both, and an echo ACK', 6, 'elb', answered, { ...answered, isAcked: true }, 'ok', /acknowledged/],
    ['an echo ACK alone', 4, 'ipo', answered, { ...silent, isAcked: true }, 'ok', /acknowledged/],
    [
      'only the plain one is answered',
      4,
      'ipo',
      answered,
      silent,
      'uoa_dropped',
      /Only the plain one is answered: a path that drops packets with IP options.*uoa\.carriage: carrier/,
    ],
    ['over IPv6', 6, 'unified', answered, silent, 'uoa_dropped', /drops packets with destination options/],
    ['protocol 248', 4, 'opp', answered, silent, 'uoa_dropped', /drops packets with protocol 248/],
    ['a carrier', 6, 'opp', answered, silent, 'unknown', /nobody has to answer/],
    [
      'only the one with UOA is refused',
      4,
      'opp',
      answered,
      refused('protocol unreachable'),
      'uoa_refused',
      /protocol 248 are refused \(protocol unreachable\).*kernel module for opp/,
    ],
    ['only the one with UOA is answered', 4, 'ipo', silent, answered, 'only_uoa', /answers nobody whom it/],
    ['neither is answered', 4, 'ipo', silent, silent, 'silent', /says nothing of the path: send/],
    ['nothing serves', 4, 'ipo', refused('port unreachable'), silent, 'refused', /nothing serves there/],
    ['plain is silent, UOA refused', 4, 'opp', silent, refused('protocol unreachable'), 'uoa_refused', /./],
  ];
  for (const [name, over, dialect, plain, uoa, verdict, text] of rows) {
    it(`${dialect} over IPv${over}, ${name}: ${verdict}`, () => {
      const form = uoaForms(dialect, over, 31)![over];
      const said = verdictOf(plain, { ...uoa, isCarrier: !form.inserted }, form, over, dialect);
      assert.equal(said.verdict, verdict);
      assert.match(said.text, text);
    });
  }

  for (const [plain, verdict, text] of [
    [answered, 'ok', /It is answered. Dialect none puts nothing/],
    [silent, 'silent', /^It is not answered, which says nothing of the path/],
    [refused('port unreachable'), 'refused', /port unreachable/],
  ] as const)
    it(`without UOA, ${plain.result}: ${verdict}`, () => {
      const said = verdictOf(plain, undefined, undefined, 4, 'none');
      assert.equal(said.verdict, verdict);
      assert.match(said.text, text);
    });
});
