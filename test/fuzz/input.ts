// What the fuzzer runs: a world (one service with its policies) and what happens in it, as plain data that a
// file keeps and fast-check can shrink. A corpus file holds one input as JSON, packets as hex.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { hex, unhex } from '../packets/bytes.ts';
import { DIALECTS } from '../packets/uoa-builder.ts';

export type Spoken = (typeof DIALECTS)[number] | 'proxy-v2' | 'none';

export interface World {
  /** Of the real server of each family; null: the service has none of that family. */
  readonly dialect4: Spoken | null;
  readonly dialect6: Spoken | null;
  readonly unifiedType: 30 | 31;
  readonly onUnsupported: (typeof DIALECTS)[number] | 'plain';
  /** Without it `every`. */
  readonly proxyV2?: 'every' | 'first';
  readonly maxTrials: number;
  readonly refreshMs: number;
  readonly idleRefreshMs: number;
  /** Towards real servers, towards clients, and of both ports on the way in. */
  readonly mtu4: number;
  readonly mtu6: number;
  readonly wanMtu: number;
  readonly portMtu: number;
  readonly maxSessions: number;
  readonly lports: number;
  readonly startMs: number;
  /** After each packet that is not forwarded, a good one must be. */
  readonly isProbed: boolean;
}

export const REACTIONS = [
  'reply', // the real server answers what was sent to it last
  'ack', // it echoes the UOA that was sent last
  'refusal', // it says that it cannot read what was sent to it last
  'tooBig', // a router says so of what was sent to a real server last
  'closed', // the real server's port is closed
  'clientClosed', // the client's port is closed
] as const;

export interface Step {
  /** Milliseconds since the step before. */
  readonly wait: number;
  /**
   * A packet arrives on a port, sessions and fragments are swept, or somebody reacts to what the proxy sent.
   */
  readonly what: 'wan' | 'lan' | 'tick' | (typeof REACTIONS)[number];
  /** What arrives; empty otherwise. */
  readonly packet: Uint8Array;
  /** Bit n: the nth packet that the step sends cannot be sent. */
  readonly refuse: number;
}

export interface Input {
  readonly world: World;
  readonly steps: readonly Step[];
}

export const step = (
  what: Step['what'],
  packet: Uint8Array = new Uint8Array(0),
  wait = 0,
  refuse = 0,
): Step => ({
  wait,
  what,
  packet,
  refuse,
});

const spoken6 = fc.constantFrom<Spoken | null>('elb', 'opp', 'unified', 'proxy-v2', 'none');
const MTUS = [1500, 1280, 1400, 1492];

export const world: fc.Arbitrary<World> = fc
  .record({
    dialect4: fc.option(fc.constantFrom<Spoken>('ipo', 'opp', 'elb', 'unified', 'proxy-v2', 'none'), {
      freq: 4,
    }),
    dialect6: fc.option(spoken6, { freq: 4 }),
    unifiedType: fc.constantFrom<30 | 31>(31, 30),
    onUnsupported: fc.constantFrom<World['onUnsupported']>('plain', ...DIALECTS),
    proxyV2: fc.constantFrom('every' as const, 'first' as const),
    maxTrials: fc.constantFrom(3, 255, 0, 1, 2, 255, 255),
    refreshMs: fc.constantFrom(0, 2000, 1),
    idleRefreshMs: fc.constantFrom(120_000, 0, 1000),
    mtu4: fc.constantFrom(...MTUS, 576, 100),
    mtu6: fc.constantFrom(...MTUS),
    wanMtu: fc.constantFrom(...MTUS),
    portMtu: fc.constantFrom(1500, 9000, 65_535),
    maxSessions: fc.constantFrom(8, 3, 5),
    lports: fc.constantFrom(20, 8, 2),
    startMs: fc.constantFrom(5000, 0x7fffffff - 2000, -1500),
    isProbed: fc.boolean(),
  })
  .map((drawn) => (drawn.dialect4 || drawn.dialect6 ? drawn : { ...drawn, dialect4: 'ipo' as const }));

/** Inputs by their bytes: not to draw from, but to shrink what failed, wherever it came from. */
export const shrinkable: fc.Arbitrary<Input> = fc.record({
  world: fc.record({
    dialect4: fc.constantFrom<Spoken | null>(null, 'ipo', 'opp', 'elb', 'unified', 'proxy-v2', 'none'),
    dialect6: fc.constantFrom<Spoken | null>(null, 'elb', 'opp', 'unified', 'proxy-v2', 'none'),
    unifiedType: fc.constantFrom<30 | 31>(31, 30),
    onUnsupported: fc.constantFrom<World['onUnsupported']>('plain', ...DIALECTS),
    proxyV2: fc.constantFrom('every' as const, 'first' as const),
    maxTrials: fc.nat(255),
    refreshMs: fc.nat(),
    idleRefreshMs: fc.nat(),
    mtu4: fc.integer({ min: 68, max: 65_535 }),
    mtu6: fc.integer({ min: 1280, max: 65_535 }),
    wanMtu: fc.integer({ min: 1280, max: 65_535 }),
    portMtu: fc.integer({ min: 1280, max: 65_535 }),
    maxSessions: fc.integer({ min: 1, max: 100 }),
    lports: fc.integer({ min: 1, max: 100 }),
    startMs: fc.integer(),
    isProbed: fc.boolean(),
  }),
  steps: fc.array(
    fc.record({
      wait: fc.nat(),
      what: fc.constantFrom<Step['what']>('wan', 'lan', 'tick', ...REACTIONS),
      packet: fc.uint8Array({ maxLength: 70_000 }),
      refuse: fc.nat(255),
    }),
    { maxLength: 2000 },
  ),
});

/** In the form that the formatter leaves alone. */
export function toJson({ world, steps }: Input): string {
  const written = steps.map(({ wait, what, packet, refuse }) => ({
    what,
    ...(wait > 0 && { wait }),
    ...(refuse > 0 && { refuse }),
    ...(packet.length > 0 && { packet: hex(packet) }),
  }));
  return `${JSON.stringify({ world, steps: written }, null, 2)}\n`;
}

export function fromJson(text: string): Input {
  const { world, steps }: { world: World; steps: (Partial<Omit<Step, 'packet'>> & { packet?: string })[] } =
    JSON.parse(text);
  return {
    world,
    steps: steps.map(({ what = 'tick', wait = 0, refuse = 0, packet = '' }) =>
      step(what, unhex(packet), wait, refuse),
    ),
  };
}

export const CORPUS = fileURLToPath(new URL('corpus/', import.meta.url));

/** Sequences that once failed, and some that reach rare verdicts, by file name. */
export function corpus(): Map<string, Input> {
  const names = readdirSync(CORPUS)
    .filter((name) => name.endsWith('.json'))
    .sort();
  return new Map(names.map((name) => [name, fromJson(readFileSync(CORPUS + name, 'utf8'))]));
}
