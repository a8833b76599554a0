// A real server that comes back, or whose operator wants it, is told of its clients again: by the control
// plane's word, or when its port was unreachable and it answers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Announcements, announcementWords } from '../../src/datapath/announcements.ts';
import { realServer } from './rig.ts';
import { rows } from './rows.ts';
import { each, LONG, type Told, told } from './told.ts';

/** The round is over. */
const over = (it: Told, at = 0) => [it.first(at), it.acked(at + 5), it.plain(at + 10)];
const round = (it: Told, at: number) => [it.uoa(at), it.uoa(at + 1), it.uoa(at + 2), it.exhausted(at + 3)];

rows(
  'what is announced begins a round with the next packet of each session, and once',
  each((it) => ({
    plan: it.plan(LONG),
    steps: [
      ...over(it),
      { ...it.uoa(20_000), announce: 0 },
      it.acked(20_010),
      it.plain(20_020),
      { ...it.uoa(30_000), announce: 0 },
      it.uoa(30_001),
      { ...it.uoa(30_002), announce: 0 },
      it.uoa(30_003),
      it.uoa(30_004),
      it.exhausted(30_005),
      it.plain(30_006),
    ],
  })),
);

rows('who hears of an announcement', [
  {
    name: 'sessions of that real server, and no others',
    plan: { service: { ...LONG, realServers: [realServer('10.2.0.10'), realServer('10.2.0.11')] } },
    steps: [
      told.uoa(0),
      { ...told.secondToOther(0) },
      told.acked(5),
      told.plain(6),
      { ...told.plain(10), announce: 1 },
      { ...told.uoa(20), announce: 0 },
    ],
  },
  {
    name: 'a session that opens later has one round',
    plan: { service: LONG },
    steps: [{ ...told.first(0), announce: 0 }, told.uoa(1), told.uoa(2), told.exhausted(3), told.plain(4)],
  },
  {
    name: 'a session that a process that ended left behind, once',
    plan: { service: LONG },
    steps: [
      told.first(0),
      told.acked(5),
      { successor: true, announce: 0 },
      told.uoa(10),
      told.acked(15),
      { successor: true },
      told.plain(20),
    ],
  },
  {
    name: 'nobody where no UOA is sent',
    plan: { service: { ...LONG, maxTrials: 0 } },
    steps: [told.plain(0), { ...told.plain(1), announce: 0 }],
  },
  {
    name: 'nobody whose real server is told nothing',
    plan: { service: { ...LONG, dialect: 'none' } },
    steps: [told.plain(0), { ...told.plain(1), announce: 0 }, told.unreachable(2), told.plain(3)],
  },
]);

rows(
  'while the port of a real server is unreachable each packet brings the UOA, and its first answer begins a round',
  each((it) => ({
    plan: it.plan(LONG),
    steps: [
      ...over(it),
      it.unreachable(20_000),
      it.uoa(20_010),
      it.uoa(20_020),
      it.uoa(20_030),
      it.uoa(20_040),
      it.unreachable(22_000),
      it.uoa(24_000),
      it.answer(24_100),
      ...round(it, 24_200),
      it.plain(24_300),
      it.answer(24_400),
      it.plain(24_500),
    ],
  })),
);

rows('a port that was unreachable', [
  {
    name: 'is told of by an error about a packet of another session',
    plan: { service: LONG },
    steps: [
      told.first(0),
      told.acked(5),
      told.second(6),
      told.unreachable(10),
      told.secondUoa(11),
      told.uoa(12),
    ],
  },
  {
    name: 'an echo ACK is an answer',
    plan: { service: LONG },
    steps: [
      ...over(told),
      told.unreachable(20_000),
      told.uoa(20_010),
      told.acked(20_100),
      told.uoa(20_110),
      told.acked(20_120),
      told.plain(20_130),
    ],
  },
  {
    name: 'what was answered just before the error is no answer',
    plan: { service: LONG },
    steps: [
      ...over(told),
      told.unreachable(20_000),
      told.answer(20_001),
      ...[20_010, 20_020, 20_030, 20_040, 20_050].map(told.uoa),
      told.answer(20_051),
      ...round(told, 20_060),
    ],
  },
  {
    name: 'without an answer it is quiet after 3 s, and a round begins',
    plan: { service: LONG },
    steps: [
      ...over(told),
      told.unreachable(20_000),
      ...[20_010, 20_020, 20_030, 20_040, 22_999].map(told.uoa),
      ...round(told, 23_000),
      told.plain(23_100),
    ],
  },
  {
    name: 'errors again and again begin one round in 10 s where the real server answers',
    plan: { service: LONG },
    steps: [
      ...over(told),
      told.unreachable(20_000),
      told.answer(20_060),
      ...round(told, 20_070),
      told.unreachable(20_100),
      told.plain(20_200),
      told.answer(20_300),
      told.unreachable(25_000),
      told.plain(29_999),
      ...round(told, 30_000),
      told.unreachable(30_100),
      told.plain(30_200),
      told.unreachable(39_900),
      told.uoa(40_000),
      told.answer(40_001),
      ...round(told, 40_002),
    ],
  },
  {
    name: 'a router, or another error, says nothing of it',
    plan: { service: LONG },
    steps: [
      ...over(told),
      told.error(20_000, { type: 3, code: 3, rest: 0 }, '10.2.0.1'),
      told.error(20_001, { type: 3, code: 1, rest: 0 }, '10.2.0.10'),
      told.plain(20_002),
    ],
  },
  {
    name: 'the clock may wrap meanwhile',
    startMs: 0x7fff_ffff - 20_005,
    plan: { service: LONG },
    steps: [
      ...over(told),
      told.unreachable(20_000),
      told.uoa(20_010),
      told.answer(20_100),
      ...round(told, 20_200),
    ],
  },
]);

for (const errorMs of [1, 20, 40, 60, 1_000])
  test(`an error per ${errorMs} ms about a real server that answers costs a round in 10 s, not one in each packet`, () => {
    const announcements = new Announcements(new Int32Array(announcementWords(1)));
    const numbers = new Set<number>();
    let inEach = 0;
    const changesBefore = announcements.version;
    for (let at = 0; at < 60_000; at++) {
      if (at % errorMs === 0) announcements.unreachable(0, at);
      if (at % 3 === 0) announcements.answered(0, at);
      const number = announcements.lastTo(0, at);
      if ((number & 1) === 1) inEach++;
      else numbers.add(number);
    }
    assert.ok(inEach <= 6 * 60, `${inEach} of 60000 packets have a UOA without need`);
    assert.ok(numbers.size <= 1 + 6, `${numbers.size} announcements`);
    // It becomes unreachable, comes back and rests: nobody has to look at sessions for more.
    assert.ok(announcements.version - changesBefore <= 6 * 3, `${announcements.version} changes`);
  });

test('a real server that is away is told with its first answer, however fast errors came until then', () => {
  for (const errorMs of [1, 20, 40, 1_000]) {
    const announcements = new Announcements(new Int32Array(announcementWords(1)));
    for (let at = 0; at < 15_000; at++) {
      if (at % errorMs === 0) announcements.unreachable(0, at);
      assert.equal(announcements.lastTo(0, at) & 1, 1, `each packet brings one at ${at}`);
    }
    announcements.answered(0, 15_000);
    assert.equal(announcements.lastTo(0, 15_000), 2);
  }
});

const UNACKED = { ...LONG, refreshMs: 60_000, refreshesAcked: false };

rows('refresh of what no echo ACK came for', [
  {
    name: 'a round without an echo ACK is repeated, one with it is not',
    plan: { service: UNACKED },
    steps: [
      told.first(0),
      told.uoa(1),
      told.uoa(2),
      told.exhausted(3),
      told.plain(60_001),
      told.uoa(60_002),
      told.acked(60_003),
      told.plain(60_004),
      told.plain(500_000),
    ],
  },
  {
    name: 'after an announcement an acked session is repeated until it is acked again',
    plan: { service: UNACKED },
    steps: [
      ...over(told),
      { ...told.uoa(100_000), announce: 0 },
      told.uoa(100_001),
      told.uoa(100_002),
      told.exhausted(100_003),
      told.plain(160_001),
      told.uoa(160_002),
    ],
  },
]);
