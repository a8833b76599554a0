// Judges what a datapath made of one packet: the verdict against what was sent and counted, and what was sent
// against what arrived. Throws an AssertionError that says what is wrong.
import assert from 'node:assert/strict';
import { familyOf, hex } from '../packets/bytes.ts';
import { type Dissected, dissect } from '../packets/dissect.ts';
import { type Form, proxyHeader, uoaOf } from '../packets/uoa-builder.ts';
import { judgeIcmp, judgeOwnIcmp } from './judge-icmp.ts';
import type { Model } from './model.ts';
import { AT, FIRST_LPORT, VPORT } from './plan.ts';
import { type Datagram, read, type Seen } from './reader.ts';
import {
  checkTowardsClient,
  checkTowardsRealServer,
  datagramsOf,
  realServerFamily,
  type SentDatagram,
} from './sent.ts';
import type { Outcome } from './twin.ts';

/** Drops that may come with ICMP to the sender. */
const TELLING = ['drop:ttl_exceeded', 'drop:too_big', 'drop:unknown_ip_option', 'drop:send_failed'];
/** Verdicts that also drop what was held of the same datagram. */
const DROPS_HELD = ['drop:bad_fragment', 'drop:fragment_overlap', 'drop:fragment_too_many'];

export function judge(model: Model, packet: Uint8Array, from: 'wan' | 'lan', outcome: Outcome): void {
  checkDrops(model, outcome);
  const arrived = read(packet);
  const seen = arrived?.fragment ? model.noteFragment(arrived, from, outcome) : arrived;
  if (seen?.icmp) model.noteError(seen);
  const { verdict, attempts, changed } = outcome;
  if (attempts.length === 0) {
    assert.notEqual(verdict, 'forward', 'nothing is sent');
    assert.notEqual(verdict, 'drop:send_failed', 'nothing was handed to send');
    if (verdict === 'pass') checkPassed(model, seen);
    if (verdict === 'consumed') checkConsumed(model, seen, outcome);
    return;
  }
  assert.ok(verdict === 'forward' || TELLING.includes(verdict), `${verdict}, but something is sent`);
  if (arrived?.fragment && !seen && verdict === 'drop:unknown_ip_option') {
    judgeOwnIcmp(arrived, outcome);
    return;
  }
  assert.ok(seen, 'what cannot be read causes a packet');
  if (seen.icmp) {
    judgeIcmp(model, seen, outcome);
    return;
  }
  assert.ok(seen.udp, 'what is no datagram causes a packet');
  if (verdict !== 'forward' && verdict !== 'drop:send_failed') {
    judgeOwnIcmp(seen, outcome);
    return;
  }
  assert.notEqual(seen.udp.sum, 'wrong', 'a datagram with a wrong checksum goes on');
  assert.ok(seen.family === 4 || seen.udp.sum !== 'zero', 'IPv6 without a UDP checksum goes on');
  if (changed.inboundPackets) judgeInbound(model, seen, seen.udp, outcome);
  else judgeOutbound(model, seen, seen.udp, outcome);
}

/** The drop of the verdict and no other is counted, but for fragments that were held until now. */
function checkDrops(model: Model, { verdict, drops }: Outcome): void {
  const { fragment_evicted: evicted = 0, ...others } = drops;
  model.piecesDropped += evicted;
  if (!verdict.startsWith('drop:')) {
    assert.deepEqual(others, {}, `drops counted with the verdict ${verdict}`);
    return;
  }
  const reason = verdict.slice('drop:'.length);
  const { [reason]: own = 0, ...rest } = others;
  assert.deepEqual(rest, {}, `drops counted beside ${verdict}`);
  if (DROPS_HELD.includes(verdict)) model.piecesDropped += own - 1;
  else assert.equal(own, 1, `${verdict} is counted once`);
  assert.ok(own >= 1, `${verdict} is counted`);
}

/** What is the host's own business is nothing that a service could have answered. */
function checkPassed(model: Model, seen: Seen | undefined): void {
  if (!seen?.udp) return;
  const { vip, lip } = AT[seen.family];
  assert.ok(seen.dst !== vip || seen.udp.dport !== VPORT, 'a datagram to the service is not taken');
  if (!model.hasRealServer(seen.family)) return;
  assert.ok(seen.dst !== lip || seen.udp.dport !== FIRST_LPORT, 'a datagram to LIP:lport is not taken');
}

function checkConsumed(model: Model, seen: Seen | undefined, { changed }: Outcome): void {
  assert.ok(seen, 'what cannot be read is consumed');
  if (seen.icmp) {
    assert.equal(changed.uoaUnsupported, 1, 'ICMP is consumed for one reason');
    model.noteRefusal(seen.family);
    return;
  }
  assert.equal(seen.udp?.payload.length, 0, 'only empty datagrams are consumed');
  assert.equal(seen.src, AT[seen.family].rip, 'only what a real server says is consumed');
  if (!changed.uoaAcked) return;
  const client = model.clientOf(seen.family, seen.udp.dport);
  assert.ok(client, 'an echo ACK of a session that was never opened');
  const forms = model.formsTowards(seen.family);
  assert.ok(
    forms.some((form) => holdsUoa(seen, seen.udp!, form, model, client)),
    'what ends a handshake does not name the client',
  );
}

function holdsUoa(
  { family, packet }: Seen,
  { opp }: Datagram,
  form: Form,
  model: Model,
  client: { ip: string; port: number },
): boolean {
  const uoa = uoaOf(form, family, model.named(client));
  if (uoa === undefined) return false;
  if ('option' in uoa) return hex(opp.subarray(4)) === hex(uoa.option);
  const bytes =
    'options' in uoa ? uoa.options : uoa.extensions[0].bytes.subarray(2, 4 + uoa.extensions[0].bytes[3]);
  return hex(packet).includes(hex(bytes));
}

function judgeInbound(model: Model, seen: Seen, udp: Datagram, outcome: Outcome): void {
  const { attempts, changed, verdict } = outcome;
  const { world } = model;
  const { vip } = AT[seen.family];
  assert.deepEqual([seen.dst, udp.dport], [vip, VPORT], "what is no client's goes to a real server");
  const client = { ip: seen.src, port: udp.sport };
  const named = model.named(client);
  const first = dissect(attempts[0].packet, { fragment: true });
  model.noteInbound(client, familyOf(first.src), first.sport, outcome);
  const sent = datagramsOf(attempts, (dst) => (familyOf(dst) === 4 ? world.mtu4 : world.mtu6));
  const header = hex(proxyHeader(named));
  let trials = 0;
  let headers = 0;
  let headerTrials = 0;
  let failed = 0;
  let last: SentDatagram | undefined;
  for (const datagram of sent) {
    const family = realServerFamily(datagram);
    assert.ok(family, "a client's datagram causes more than packets to its real server");
    const form = checkTowardsRealServer(datagram, named, model.formsTowards(family));
    const { sport, payload } = datagram.seen;
    const due = model.headerTowards(family, udp.payload);
    const isHeaded = due !== 'never' && payload.startsWith(header);
    if (due === 'always') assert.ok(isHeaded, 'a datagram without header');
    assert.ok(sport >= FIRST_LPORT && sport < FIRST_LPORT + world.lports, 'an lport of the plan');
    assert.equal(model.clientOf(family, sport), client, 'all leaves by one lport');
    if (form !== undefined) datagram.wasSent ? trials++ : failed++;
    if (isHeaded) datagram.wasSent ? headers++ : failed++;
    if (isHeaded && datagram.wasSent && due === 'perhaps') headerTrials++;
    const own = { ...datagram.seen, payload: payload.slice(isHeaded ? header.length : 0) };
    const isCarrier = form !== undefined && payload === ''; // what is empty and has a UOA is nothing else
    if (!isCarrier) checkSame(seen, udp, own, 'the client');
    last = isCarrier ? undefined : datagram;
    if (!datagram.wasSent) continue;
    model.delivery = { client, packet: datagram.packet, ...(form && { form }) };
    if (form) model.told = model.delivery;
  }
  assert.equal((changed.uoaInserted ?? 0) + (changed.uoaCarrier ?? 0), trials, 'UOA sent and counted');
  assert.equal(changed.uoaHeader ?? 0, headers, 'headers sent and counted');
  assert.equal(changed.uoaFailed ?? 0, failed, 'UOA not sent and counted');
  model.noteTrials(client, trials + headerTrials, outcome);
  checkForwarded(outcome, 'inboundForwarded', verdict === 'forward');
  if (verdict === 'forward') checkLast(outcome, last);
}

function judgeOutbound(model: Model, seen: Seen, udp: Datagram, outcome: Outcome): void {
  const { verdict, attempts } = outcome;
  const { lip, rip } = AT[seen.family];
  assert.deepEqual([seen.src, seen.dst], [rip, lip], "what is no real server's goes to a client");
  const client = model.clientOf(seen.family, udp.dport);
  assert.ok(client, 'an lport that nobody was sent from');
  const sent = datagramsOf(attempts, () => model.world.wanMtu);
  assert.ok(sent.length <= 1, 'one answer makes one datagram');
  checkForwarded(outcome, 'outboundForwarded', verdict === 'forward');
  const [datagram] = sent;
  if (!datagram) {
    assert.equal(verdict, 'drop:send_failed');
    return;
  }
  checkTowardsClient(datagram, model.named(client));
  checkSame(seen, udp, datagram.seen, 'the real server');
  if (datagram.wasSent) model.answer = datagram.packet;
  if (verdict === 'forward') checkLast(outcome, datagram);
}

/** Payload, what stands behind it, and one hop less; a checksum that was not used may stay so over IPv4. */
function checkSame(seen: Seen, udp: Datagram, sent: Dissected, whose: string): void {
  assert.equal(sent.payload, hex(udp.payload), `the payload of ${whose}`);
  assert.equal(sent.surplus, hex(udp.surplus), `the bytes behind the datagram of ${whose}`);
  assert.equal(sent.ttl, seen.ttl - 1, 'one hop less');
  if (udp.sum === 'zero' && sent.family === 4) assert.equal(sent.udpChecksum, 0, 'no checksum stays none');
  else assert.notEqual(sent.udpChecksum, 0, 'a checksum that got lost');
  assert.equal(sent.tos | 3, seen.tos | 3, 'TOS');
  if (seen.family === 6 && sent.family === 4) assert.notEqual(sent.id, 0, 'an identification');
}

function checkForwarded(
  { changed }: Outcome,
  name: 'inboundForwarded' | 'outboundForwarded',
  was: boolean,
): void {
  const other = name === 'inboundForwarded' ? 'outboundForwarded' : 'inboundForwarded';
  assert.equal(changed[name] ?? 0, was ? 1 : 0, name);
  assert.equal(changed[other] ?? 0, 0, other);
  assert.equal(changed.icmpSent ?? 0, 0, 'icmpSent');
}

function checkLast({ attempts, changed }: Outcome, datagram: SentDatagram | undefined): void {
  assert.ok(datagram && attempts.at(-1)?.wasSent, 'forward, but the datagram was not sent');
  assert.equal(changed.datagramsFragmented ?? 0, datagram.isFragmented ? 1 : 0, 'datagramsFragmented');
}
