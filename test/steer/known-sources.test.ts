// Known sources: who is noted, and that a flood of others costs them nothing. What the kernel makes of the
// table is compared packet by packet in steering.test.ts.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KnownSources, knownSpec, openKnown } from '../../src/steer/known-sources.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';
import { parseAddressInto } from '../../src/wire/address.ts';
import { startEndpoint } from '../host/endpoint.ts';
import { type Program, sh, threeInARow } from '../io/namespaces.ts';
import { fragments4 } from '../packets/fragments.ts';
import { udp } from '../packets/uoa-builder.ts';
import {
  assertPass,
  BOTH_FAMILIES,
  CIP,
  CIP6,
  flood,
  LIP,
  ofWan,
  RING,
  RIP,
  RIP6,
  report,
  reportOnce,
  SMALL_RING_BYTES,
  startRelay,
  VIP,
  VIP6,
  VPORT,
  WAN_KNOWN,
} from './relay.ts';

const OTHER_VIP = '10.1.0.77';
const WAN = 0;
const LAN = 1;
/** The limit of a known source; see steering.bpf.c. */
const PERIOD_MS = 2 ** 27 / 1e6;
const MOST_PER_PERIOD = 4096;
/** What a link between namespaces may lose where the machine is busy. */
const NEARLY = 0.99;

/** A table that shows what is in it. */
function openTable(sources: number) {
  const spec = knownSpec(sources);
  const fd = openKnown(spec);
  const known = new KnownSources(spec, fd);
  const tags = new Int32Array(mapSharedMemory(fd, spec.buckets * 16));
  const noted = () => tags.reduce((count, tag, at) => count + Number(at % 4 !== 3 && tag !== 0), 0);
  const note = (src: string, sport: number, portIndex: number): boolean => {
    const packet = udp({ src, dst: src.includes(':') ? 'fd00::1' : '10.0.0.1', sport, dport: 6000 });
    const isSource = known.look(new DataView(packet.buffer, packet.byteOffset), 0, portIndex);
    if (isSource) known.note();
    return isSource;
  };
  const noteClient = (ip: string, port: number, portIndex: number) => {
    const words = new Int32Array(6);
    parseAddressInto(words, 1, ip);
    known.noteClient(words, 1, port, portIndex);
  };
  return { known, noted, note, noteClient, spec };
}

describe('the table of known sources', () => {
  test('holds a source once, as a packet or as the client of a session tells it, by interface', () => {
    for (const ip of ['198.51.100.7', '2001:db8::7', '::ffff:0:0:1', '2001:db8::c633:6407']) {
      const { noted, note, noteClient } = openTable(1000);
      noteClient(ip, 5000, WAN);
      assert.equal(noted(), 1);
      assert.ok(note(ip, 5000, WAN));
      assert.equal(noted(), 1, `${ip} is the same`);
      note(ip, 5001, WAN);
      noteClient(ip, 5000, LAN);
      assert.equal(noted(), 3, 'another port and another interface are another source');
    }
  });

  test('tells an IPv4 client from an IPv6 client of the same last bytes', () => {
    const { noted, noteClient } = openTable(1000);
    for (const ip of ['198.51.100.7', '::c633:6407', '2001:db8::c633:6407']) noteClient(ip, 5000, WAN);
    assert.equal(noted(), 3);
  });

  test('is told of a client while a packet that was looked at is under way', () => {
    const { known, noted, noteClient, note } = openTable(1000);
    const packet = udp({ src: '10.2.0.9', dst: '10.2.0.1', sport: 6000, dport: 2000 });
    known.look(new DataView(packet.buffer, packet.byteOffset), 0, LAN);
    noteClient('198.51.100.7', 5000, WAN);
    known.note();
    assert.equal(noted(), 2);
    note('10.2.0.9', 6000, LAN);
    note('198.51.100.7', 5000, WAN);
    assert.equal(noted(), 2, 'it was these two');
  });

  test('takes no packet that the kernel would not look up', () => {
    const { known } = openTable(1000);
    const datagram = udp({
      src: '10.0.0.2',
      dst: '10.0.0.1',
      sport: 1,
      dport: 2,
      payload: new Uint8Array(64),
    });
    const tcp = datagram.slice();
    tcp[9] = 6;
    const tcp6 = udp({ src: 'fd00::2', dst: 'fd00::1', sport: 1, dport: 2 });
    tcp6[6] = 6;
    for (const packet of [tcp, tcp6, ...fragments4(datagram, [32])])
      assert.equal(known.look(new DataView(packet.buffer, packet.byteOffset), 0, WAN), false);
  });

  test('has room for three times as many as were asked for, and takes the newest when it is full', () => {
    const { noted, noteClient, spec } = openTable(1000);
    assert.equal(spec.buckets, 1024);
    const note = (n: number) => noteClient(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, 5000, WAN);
    for (let n = 0; n < 1000; n++) note(n);
    assert.ok(noted() > 950, `${noted()} of 1,000 have a place`);
    for (let n = 1000; n < 40_000; n++) note(n);
    assert.equal(noted(), 3 * 1024, 'it does not grow');
    for (let n = 39_000; n < 40_000; n += 10) {
      note(n);
      assert.equal(noted(), 3 * 1024);
    }
  });

  test('is as large as the sessions may be many, within bounds', () => {
    assert.deepEqual(
      [1, 1_000_000, 100_000_000].map((sources) => knownSpec(sources).buckets),
      [1 << 10, 1 << 20, 1 << 22],
    );
  });
});

test('a known source that sends too much comes in among the unknown, and another one loses nothing', async (t) => {
  const row = threeInARow(t);
  const relay = await startRelay(t, row.lb, {
    ...RING,
    rips: [RIP, '10.2.0.9'],
    // Nobody is there: what is sent to it ends at the relay, and its sender is known nevertheless.
    rewrite: { ...RING.rewrite, [OTHER_VIP]: { src: LIP, dst: '10.2.0.9' } },
    vips: [...RING.vips, { ip: OTHER_VIP, port: VPORT }],
    ring: 64 << 20,
    known: true,
    burdenUs: 10, // so that it can do what is let in, and not the flood
  });
  sh(`ip -n ${row.lb} address add ${OTHER_VIP}/32 dev wan0`);
  sh(`ip -n ${row.lb} neigh add 10.2.0.9 lladdr 02:00:00:00:00:09 nud permanent dev lan0`);
  await startEndpoint(t, row.server, { ip: RIP, port: VPORT, echo: true });
  const endpoint = await startEndpoint(t, row.client, { ip: CIP });
  await assertPass(endpoint, VIP, [1, 2]);
  const spec = { ip: OTHER_VIP, port: VPORT, payloadLen: 64, rate: 150_000, durationMs: 4_000 };
  const flooding = flood(t, row.client, spec);
  await reportOnce(relay, (r) => r.counters[WAN_KNOWN].received > 1_000);
  await reportOnce(relay, (r) => r.counters[0].received + r.counters[0].lostKernel > 1_000);
  for (let round = 0; round < 20; round++) await assertPass(endpoint, VIP, [round]);
  const sent = await flooding;
  const { counters } = await reportOnce(
    relay,
    (r) => ofWan(r, 'received') + ofWan(r, 'lostKernel') >= NEARLY * sent,
  );
  const { received, lostKernel } = counters[WAN_KNOWN];
  // On a machine that is not busy for about one period; at most, with pauses in between, for each other one.
  const most = (spec.durationMs / PERIOD_MS / 2 + 2) * MOST_PER_PERIOD;
  assert.ok(received + lostKernel <= most, `${received + lostKernel} of ${sent}, at most ${most}`);
  // Slower than that, which is not much above the limit, it is let in again and again, more than this relay
  // can take.
  const wasFast = sent > (spec.rate * spec.durationMs) / 1000 / 2;
  if (wasFast) assert.equal(lostKernel, 0);
  await relay.stop();
});

test('a flood of unknown sources overflows its own ring, and known sources of both families lose nothing', async (t) => {
  const strange = '10.1.0.77';
  const row = threeInARow(t);
  sh(`ip -n ${row.lb} address add ${strange}/32 dev wan0`);
  const relay = await startRelay(t, row.lb, {
    ...BOTH_FAMILIES,
    vips: [...BOTH_FAMILIES.vips, { ip: strange, port: VPORT }],
    ring: 2 * SMALL_RING_BYTES,
    known: true,
    burdenUs: 40,
  });
  const ends: [Program, string][] = [];
  for (const [cip, vip, rip] of [
    [CIP, VIP, RIP],
    [CIP6, VIP6, RIP6],
  ] as const) {
    await startEndpoint(t, row.server, { ip: rip, port: VPORT, echo: true });
    ends.push([await startEndpoint(t, row.client, { ip: cip }), vip]);
  }
  for (const [endpoint, vip] of ends) await assertPass(endpoint, vip, [1, 2]);
  const before = (await report(relay)).counters;
  assert.deepEqual([before[0].received, before[WAN_KNOWN].received], [2, 2], 'unknown once');
  const spec = { ip: strange, port: VPORT, payloadLen: 64, rate: 150_000, durationMs: 3_000 };
  const flooding = flood(t, row.client, spec);
  await reportOnce(relay, (r) => r.counters[0].lostKernel > 0);
  for (let round = 0; round < 20; round++)
    for (const [endpoint, vip] of ends) await assertPass(endpoint, vip, [round]);
  const sent = await flooding;
  const { counters } = await reportOnce(
    relay,
    (r) => r.counters[0].received + r.counters[0].lostKernel >= NEARLY * sent,
  );
  const known = counters[WAN_KNOWN];
  assert.deepEqual([known.received, known.lostKernel, known.lostBacklog], [42, 0, 0]);
  await relay.stop();
});
