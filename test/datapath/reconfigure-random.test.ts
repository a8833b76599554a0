// Hundreds of random plan changes under random traffic. Whatever happens, the gauges equal a recount of the
// records, what stays keeps its sessions and LIP:lports, what is gone has none, and when all is over every
// lport is free. UOA_TEST_SEED=7 runs one seed, UOA_TEST_PLANS says for how many plans.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WEIGHT_DOWN } from '../../src/datapath/server-cells.ts';
import { LAST_SEEN } from '../../src/session/session.ts';
import { type Dissected, dissect } from '../packets/dissect.ts';
import { udp } from '../packets/uoa-builder.ts';
import { errorAbout } from './errors.ts';
import { CAPACITY, Draws, nextServices } from './random-plan.ts';
import { checkGauges, type Recorded, recordedSessions } from './recount.ts';
import { PORT, Rig, type ServiceChange } from './rig.ts';

const SEEDS = process.env.UOA_TEST_SEED ? [Number(process.env.UOA_TEST_SEED)] : [1, 2, 3, 4, 5, 6];
const PLANS = Number(process.env.UOA_TEST_PLANS ?? 80);
const CLIENTS = { 4: ['10.1.0.2', '10.1.0.3', '10.1.1.2'], 6: ['fd00:1::2', 'fd00:1:0:1::3'] };
const REMEMBERED = 40;
const LONG_MS = 120_000;

const nameOf = ({ service, leg, client, cport, lport }: Recorded): string =>
  [service.name, vipOf(service, client), service.vport, client, cport, leg.lip, lport, leg.rip].join(' ');
const vipOf = ({ vips }: { vips: readonly string[] }, client: string): string | undefined =>
  vips.find((vip) => vip.includes(':') === client.includes(':'));

class World {
  readonly draws: Draws;
  readonly rig: Rig;
  services: ServiceChange[];
  /** Packets that real servers got not long ago. */
  readonly #received: { packet: Uint8Array; seen: Dissected }[] = [];
  readonly verdicts = new Map<string, number>();

  /** With so many `maxSessions`; few are evicted. */
  constructor(seed: number, maxSessions: number) {
    this.draws = new Draws(seed);
    this.services = nextServices(this.draws, []);
    const plan = {
      services: this.services,
      capacity: CAPACITY,
      maxSessions,
      onewayShare: 50,
      lportReserve: 20,
    };
    this.rig = new Rig(plan, { startMs: 0x7fff_f000 }); // the clock wraps
  }

  sessions(): Recorded[] {
    return recordedSessions(this.rig.memory, this.rig.plan);
  }

  check(what: string): void {
    checkGauges(this.rig.memory, this.rig.plan, what);
    assert.equal(this.rig.datapath.sessionCount, this.sessions().length, what);
  }

  receive(packet: Uint8Array, port: number): { verdict: string; sent: Uint8Array[] } {
    const { verdict, sent } = this.rig.receive(packet, port, 'any');
    this.verdicts.set(verdict, (this.verdicts.get(verdict) ?? 0) + 1);
    if (port === PORT.wan) {
      for (const one of sent) {
        const seen = dissect(one);
        if (seen.sport >= 0) this.#received.push({ packet: one, seen });
      }
      this.#received.splice(0, this.#received.length - REMEMBERED);
    }
    return { verdict, sent };
  }

  /** Something that may happen between two plans. */
  happen(): void {
    const { draws, rig } = this;
    const what = draws.below(100);
    if (what < 50) this.#clientSends();
    else if (what < 75) this.#serverAnswers();
    else if (what < 80) this.#serverRefuses();
    else if (what < 90) {
      const { realServers } = draws.of(rig.plan.services);
      rig.setWeight(draws.of(realServers).index, draws.of([WEIGHT_DOWN, WEIGHT_DOWN, 0, 1, 100, 100]));
    } else if (what < 93) rig.isDraining = draws.chance(20);
    else {
      rig.at += draws.of([10, 500, 3000]);
      rig.tick();
    }
  }

  #clientSends(): void {
    const { draws, rig } = this;
    const { vips, vport } = draws.of(rig.plan.services);
    const vip = draws.of(vips);
    const src = draws.of(CLIENTS[vip.includes(':') ? 6 : 4]);
    this.receive(
      udp({
        src,
        sport: 1000 + draws.below(8),
        dst: vip,
        dport: vport,
        ttl: 65,
        payload: new Uint8Array(20),
      }),
      PORT.wan,
    );
  }

  #serverAnswers(): void {
    if (this.#received.length === 0) return;
    const { src, sport, dst, dport } = this.draws.of(this.#received).seen;
    const payload = new Uint8Array(30);
    this.receive(udp({ src: dst, sport: dport, dst: src, dport: sport, ttl: 65, payload }), PORT.lan);
  }

  #serverRefuses(): void {
    if (this.#received.length === 0) return;
    const { packet, seen } = this.draws.of(this.#received);
    const [type, code] = seen.family === 4 ? [3, 3] : [1, 4];
    this.receive(errorAbout(packet, { type, code, rest: 0 }, { src: seen.dst }), PORT.lan);
  }

  /**
   * Another plan, or the same one in another process; or both at once; or a plan that the datapath never
   * gets.
   */
  change(): void {
    const { draws, rig } = this;
    const kind = draws.below(10);
    const before = this.sessions();
    if (kind === 0) {
      rig.succeed();
      assert.deepEqual(
        this.sessions().map(nameOf).sort(),
        before.map(nameOf).sort(),
        'a successor keeps all',
      );
      return;
    }
    if (kind === 1) {
      this.#next(false);
      const throughout = this.#staying(before);
      this.#next(true);
      // What the plan in between lacked may have ended or not.
      this.#compare(this.#staying(throughout), this.#staying(before));
      return;
    }
    this.#next(kind !== 2);
    const staying = this.#staying(before);
    if (kind === 2) rig.succeed();
    this.#compare(staying);
  }

  #next(isGivenToDatapath: boolean): void {
    this.services = nextServices(this.draws, this.services);
    this.rig.replan({ ...this.rig.plan, services: this.services }, isGivenToDatapath);
  }

  /** Those of the sessions whose service, VIP, real server, LIP and lport the plan still has. */
  #staying(sessions: readonly Recorded[]): Recorded[] {
    const { services } = this.rig.plan;
    return sessions.filter(({ service, server, leg, client, lport }) => {
      const now = services.find(({ name }) => name === service.name);
      return (
        now !== undefined &&
        now.vport === service.vport &&
        vipOf(now, client) === vipOf(service, client) &&
        now.realServers.some(({ ip, port }) => ip === server.ip && port === server.port) &&
        now.lips.includes(leg.lip) &&
        lport >= now.lports.first &&
        lport <= now.lports.last
      );
    });
  }

  #compare(staying: readonly Recorded[], atMost = staying): void {
    const now = this.sessions();
    const names = new Set(now.map(nameOf));
    assert.deepEqual(
      staying.map(nameOf).filter((name) => !names.has(name)),
      [],
      'what stays keeps its sessions',
    );
    const allowed = new Set(atMost.map(nameOf));
    assert.deepEqual(
      [...names].filter((name) => !allowed.has(name)),
      [],
      'what is gone has none',
    );
    for (let n = 0; n < 3 && now.length > 0; n++) this.#probe(this.draws.of(now));
  }

  /** Both directions go on where they were. */
  #probe(session: Recorded): void {
    const { rig } = this;
    const { base, service, server, leg, client, cport, lport, isNormal } = session;
    const idleMs = (rig.nowMs - rig.memory.records[base + LAST_SEEN]) | 0;
    if (idleMs >= (isNormal ? service.normalMs : service.onewayMs)) return;
    if (rig.memory.common.weights[server.index] < 0 && service.onDown !== 'keep') return;
    if (recordedAt(this.sessions(), base) !== nameOf(session)) return; // ended by the probe before
    const vip = vipOf(service, client)!;
    const payload = new Uint8Array(20);
    const there = udp({ src: client, sport: cport, dst: vip, dport: service.vport, ttl: 65, payload });
    const { verdict, sent } = this.receive(there, PORT.wan);
    assert.equal(verdict, 'forward');
    const { src, sport, dst, dport } = dissect(sent.at(-1)!);
    assert.deepEqual([src, sport, dst, dport], [leg.lip, lport, leg.rip, leg.rport]);
    const back = udp({ src: leg.rip, sport: leg.rport, dst: leg.lip, dport: lport, ttl: 65, payload });
    const answer = this.receive(back, PORT.lan);
    assert.equal(answer.verdict, 'forward');
    const got = dissect(answer.sent[0]);
    assert.deepEqual([got.src, got.sport, got.dst, got.dport], [vip, service.vport, client, cport]);
  }

  /** All sessions end, and then each real server can have as many as it has lports. */
  finish(): void {
    const { rig } = this;
    rig.isDraining = false;
    const limits = {
      sessions: 0,
      sessionsPerClient: 0,
      newSessions: 0,
      newSessionsPerClient: 0,
      prefixV4: 32,
      prefixV6: 64,
    };
    const services = this.services.map((service) => ({ ...service, limits, deny: [], persistenceMs: 0 }));
    rig.replan({ ...rig.plan, services, lportReserve: 0 });
    this.#expireAll();
    for (const { vips, vport, realServers, lports } of rig.plan.services) {
      for (const { index, legs, isLeaving } of realServers) {
        if (isLeaving) continue;
        for (const other of realServers) rig.setWeight(other.index, other.index === index ? 1 : 0);
        const room = legs.length * (lports.last - lports.first + 1);
        for (let n = 0; n <= room; n++) {
          const src = CLIENTS[vips[0].includes(':') ? 6 : 4][0];
          const packet = udp({ src, sport: 2000 + n, dst: vips[0], dport: vport, ttl: 65 });
          assert.equal(this.receive(packet, PORT.wan).verdict, 'forward');
          assert.equal(rig.datapath.sessionCount, Math.min(n + 1, room), 'an lport is free, or one waits');
        }
        this.check('all lports in use');
        this.#expireAll();
      }
    }
  }

  #expireAll(): void {
    for (let n = 0; n < 3; n++) {
      this.rig.at += LONG_MS;
      this.rig.tick();
    }
    assert.equal(this.rig.datapath.sessionCount, 0);
    this.check('all sessions are over');
  }
}

const recordedAt = (sessions: readonly Recorded[], base: number): string | undefined => {
  const found = sessions.find((one) => one.base === base);
  return found && nameOf(found);
};

/** What a run must have met, or it shows too little. */
const MET = [
  'forward',
  'drop:no_session',
  'drop:server_down',
  'drop:lports_exhausted',
  'drop:no_real_server',
];

test('gauges, sessions and lports are right after every random change of plan, weight and process', () => {
  const met = new Set<string>();
  for (const seed of SEEDS) {
    for (const maxSessions of [200, 25]) {
      const world = new World(seed, maxSessions);
      let where = '';
      try {
        for (let plan = 0; plan < PLANS; plan++) {
          for (let step = 0; step < 25; step++) {
            where = `plan ${plan}, step ${step}`;
            world.happen();
          }
          world.check('after traffic');
          where = `change after plan ${plan}`;
          world.change();
          world.check('after a change');
        }
        where = 'at the end';
        if (maxSessions === 200) world.finish();
      } catch (error) {
        throw new Error(`seed ${seed}, ${maxSessions} sessions, ${where}: ${(error as Error).message}`, {
          cause: error,
        });
      }
      for (const verdict of world.verdicts.keys()) met.add(verdict);
    }
  }
  if (SEEDS.length > 1)
    assert.deepEqual(
      MET.filter((verdict) => !met.has(verdict)),
      [],
    );
});
