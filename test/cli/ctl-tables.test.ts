import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StatsReport } from '../../src/admin/report.ts';
import { overview } from '../../src/ctl/overview.ts';
import { ratesBetween, type Sample } from '../../src/ctl/sample.ts';
import { statsTable } from '../../src/ctl/stats-table.ts';
import { cut, table } from '../../src/ctl/table.ts';
import { age, rate, short } from '../../src/ctl/units.ts';
import { FAST_AT_TC, type SampleAdmin, startSample } from '../admin/sample.ts';

describe('numbers for people', () => {
  const shorts: [value: number | undefined, text: string][] = [
    [undefined, '-'],
    [0, '0'],
    [999.4, '999'],
    [999.5, '1.0k'],
    [1234, '1.2k'],
    [12_345, '12.3k'],
    [99_949, '99.9k'],
    [99_950, '100k'],
    [999_499, '999k'],
    [999_500, '1.0M'],
    [98_400_000, '98.4M'],
    [2 ** 53, '9.0P'],
  ];
  for (const [value, text] of shorts) it(`${value} is ${text}`, () => assert.equal(short(value), text));

  const rates: [value: number, text: string][] = [
    [0, '0'],
    [2, '2'],
    [2.345, '2.3'],
    [9.96, '10'],
    [10.4, '10'],
  ];
  for (const [value, text] of rates)
    it(`${value} per second is ${text}`, () => assert.equal(rate(value), text));

  const ages: [ms: number, text: string][] = [
    [-5, '0s'],
    [999, '0s'],
    [61_000, '1m 1s'],
    [3_599_999, '59m 59s'],
    [3_600_000, '1h 0m'],
    [90_000_000, '1d 1h'],
  ];
  for (const [ms, text] of ages) it(`${ms} ms are ${text}`, () => assert.equal(age(ms), text));
});

describe('a table', () => {
  const columns = [{ head: 'SERVER' }, { head: 'N', right: true }] as const;

  it('has columns as wide as their widest cell', () => {
    assert.deepEqual(
      table(columns, [
        ['10.2.0.11:6000', '7'],
        ['a', '123'],
      ]),
      ['SERVER            N', '10.2.0.11:6000    7', 'a               123'],
    );
  });

  it('shortens its first column where there is no room, and keeps the ports', () => {
    const rows = [['[2001:db8:1111:2222:3333:4444:5555:6666]:6000', '12.3k']];
    assert.deepEqual(table(columns, rows, 30), [
      'SERVER                       N',
      '[2001:db8:1…:6666]:6000  12.3k',
    ]);
  });

  it('cuts a line that is too long', () => {
    assert.equal(cut('abcdef', 6), 'abcdef');
    assert.equal(cut('abcdef', 5), 'abcd…');
  });
});

/** Two samples a second apart; `change` makes the second of the first. */
async function samples(admin: SampleAdmin, change: (stats: StatsReport) => void): Promise<[Sample, Sample]> {
  const { services } = (await admin.get('/services')).json as unknown as Pick<Sample, 'services'>;
  const stats = (await admin.get('/stats')).json as unknown as StatsReport;
  const later = structuredClone(stats);
  change(later);
  return [
    { atMs: 5000, stats, services },
    { atMs: 6000, stats: later, services },
  ];
}

describe('the live view', () => {
  it('shows what went by in the second between two samples', async (t) => {
    const [before, after] = await samples(await startSample(t), ({ counters, drops, io, sessions }) => {
      counters.inboundPackets += 12_345;
      counters.inboundBytes += 12_300_000;
      counters.inboundForwarded += 12_000;
      counters.outboundPackets += 1;
      counters.uoaInserted += 100;
      counters.uoaCarrier += 20;
      counters.uoaAcked += 118;
      counters.sessionsCreated += 120;
      drops.no_session += 3;
      drops.denied += 200;
      io.lostKernel += 5;
      sessions.normal = 1234;
    });
    const lines = overview(before, after, 0, 80).map(({ text }) => text);
    assert.deepEqual(lines.slice(2, 10), [
      'PER SECOND               PACKETS   BITS  SENT ON',
      'clients -> real servers    12.3k  98.4M    12.0k',
      'real servers -> clients        1      0        0',
      'sessions  1.2k normal, 0 oneway, of 5.0k',
      '          120 opened/s, 0 expired/s, 0 evicted/s',
      'UOA/s     100 inserted, 20 in carriers, 0 as headers, 118 acked, 0 failed',
      'drops/s   203  denied 200  no_session 3',
      'lost/s    5 before they were seen, 0 refused by the kernel',
    ]);
  });

  it('shows what of it went by the fast path', async (t) => {
    const [before, after] = await samples(
      await startSample(t, FAST_AT_TC),
      ({ counters, fastPath, sessions }) => {
        counters.inboundPackets += 12_345;
        counters.inboundForwarded += 12_000;
        counters.inboundFast += 11_900;
        sessions.normal = 1234;
        fastPath.sessions = 1200;
      },
    );
    const lines = overview(before, after, 0, 80).map(({ text }) => text);
    assert.match(lines[0], /^uoa-proxy 1\.2\.3, up .*, pcap, fast path tc, 2 workers: /);
    assert.deepEqual(lines.slice(2, 6), [
      'PER SECOND               PACKETS  BITS  SENT ON  FAST PATH',
      'clients -> real servers    12.3k     0    12.0k      11.9k',
      'real servers -> clients        0     0        0          0',
      'sessions  1.2k normal, 0 oneway, of 5.0k; 1.2k hot',
    ]);
    assert.match(lines.join('\n'), /^game {2}.* rr {2}hot 0 of 0$/m);
    const narrow = overview(before, after, 0, 50).map(({ text }) => text);
    assert.match(narrow.join('\n'), /^game {2}.* rr\n {5}hot 0 of 0\n {2}-> /m);
  });

  it('shows what a proxy says that is older than the fast path', async (t) => {
    const [before, after] = await samples(await startSample(t), (stats) => {
      Object.assign(stats, { fastPath: 'off' });
    });
    assert.match(overview(before, after, 0, 80)[0].text, /, pcap, 2 workers: /);
    assert.match(statsTable(after.stats)[0], /, pcap, 2 workers: /);
  });

  it('shows every reason for which packets are dropped, on lines of at most 80 columns', async (t) => {
    const [before, after] = await samples(await startSample(t), ({ drops }) => {
      for (const reason of Object.keys(drops) as (keyof typeof drops)[]) drops[reason] += 12_345;
    });
    const lines = overview(before, after, 0, 80).map(({ text }) => text);
    for (const line of lines) assert.ok(line.length <= 80, line);
    for (const reason of Object.keys(after.stats.drops))
      assert.ok(
        lines.some((line) => line.includes(` ${reason} 12.3k`)),
        reason,
      );
  });

  it('knows no rates at first, nor when another proxy answers than before', async (t) => {
    const [before, after] = await samples(await startSample(t), ({ counters }) => {
      counters.inboundPackets += 100;
    });
    const packets = ({ stats }: Sample) => stats.counters.inboundPackets;
    assert.equal(ratesBetween(undefined, after)(packets), undefined);
    assert.equal(ratesBetween(before, after)(packets), 100);
    assert.equal(ratesBetween({ ...after, atMs: 0 }, before)(packets), undefined);
    assert.match(overview(undefined, after, 0, 80)[3].text, /clients -> real servers +- +- +-$/);
  });
});
