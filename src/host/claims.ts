// One proxy per address and port in a network namespace. The claim is the guard itself: its sets hold
// VIP:vport and LIP:lports, it takes CAP_NET_ADMIN in this namespace to make one, so no ordinary user can
// stand in the way, and it goes with its process, however that ends. Of two proxies the one whose tables are
// older is right: the kernel numbers them. One that still looks whether it is right itself says so in its
// tables: a third one waits for what becomes of it.
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { IoError } from '../sys/io-error.ts';
import { canonicalAddress, formatEndpoint } from '../wire/address.ts';
import { childFailure } from './child-failure.ts';
import { type LipPorts, mergePorts, type VipPort } from './port-ranges.ts';

const run = promisify(execFile);

/** Tables of guards are called so, with the process id and a random number. */
export const GUARD_PREFIX = 'uoa_proxy_';
export const guardName = (pid: number, random: string): string => `${GUARD_PREFIX}${pid}_${random}`;
const GUARD_NAME = /^uoa_proxy_\d+_[0-9a-f]+$/;

/** Sets of a guard: pairs of address and port; and addresses, with the ports in the set's name. */
export const POINTS = 'points';
export const rangeSet = (first: number, last: number): string => `range_${first}_${last}`;
const RANGE_SET = /^range_(\d+)_(\d+)$/;

/** An empty chain of a guard, by which it is known whose it is. */
export const proxyChain = (proxy: string): string => `proxy_${proxy}`;

/** An empty chain of a guard, as long as its own proxy does not know whether the claim is good. */
export const UNDECIDED = 'undecided';

/** The guard of a proxy that was killed a moment ago goes when its nft notices that. */
const GONE_WITHIN_MS = 5_000;
/** Who is undecided may itself wait for others, each of which takes longer than the above. */
const DECIDED_WITHIN_MS = 60_000;
const LOOK_AGAIN_MS = 100;
/** A set with 65,535 addresses takes some megabytes. */
const OUTPUT_MAX = 64 << 20;

interface Ports {
  first: number;
  last: number;
}

/**
 * Resolves when nobody has a claim on what `spec` names that is older than the tables called `own`; `others`
 * are this process's too. Throws an IoError that names the first address and port.
 */
export async function requireUnclaimed(
  spec: { vips: readonly VipPort[]; lips: readonly LipPorts[] },
  own: string,
  others: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const start = performance.now();
  for (;;) {
    const claim = await findClaim(spec, own, others, env);
    if (claim === undefined) return;
    const patience = claim.isDecided ? GONE_WITHIN_MS : DECIDED_WITHIN_MS;
    if (performance.now() - start > patience) throw claim.problem;
    await sleep(LOOK_AGAIN_MS);
  }
}

/** Whether that proxy lives here, by a guard that is none of `others`. Throws an IoError. */
export async function hasGuard(
  proxy: string,
  others: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<boolean> {
  for (const deadline = performance.now() + GONE_WITHIN_MS; ; await sleep(LOOK_AGAIN_MS)) {
    const tables = (await listGuards(env)).filter(({ name }) => !others.includes(name));
    const outlines = await Promise.all(tables.map((table) => outline(table, env)));
    if (!outlines.some(({ chains }) => chains.includes(proxyChain(proxy)))) return false;
    if (performance.now() > deadline) return true;
  }
}

interface Claim {
  isDecided: boolean;
  problem: IoError;
}

/** One that is decided, if there is one. */
async function findClaim(
  spec: { vips: readonly VipPort[]; lips: readonly LipPorts[] },
  own: string,
  others: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<Claim | undefined> {
  const all = await listGuards(env);
  const rivals = new Set(
    all.map(({ name }) => name).filter((name) => name !== own && !others.includes(name)),
  );
  if (rivals.size === 0) return undefined;
  const tables = await Promise.all(
    all.filter(({ name }) => name === own || rivals.has(name)).map((table) => outline(table, env)),
  );
  const ageOf = (name: string): number =>
    Math.min(...tables.filter((table) => table.name === name).map(({ handle }) => handle));
  let undecided: Claim | undefined;
  for (const rival of rivals) {
    if (ageOf(rival) > ageOf(own)) continue;
    const its = tables.filter(({ name }) => name === rival);
    const isDecided = !its.some(({ chains }) => chains.includes(UNDECIDED));
    if (!isDecided && undecided !== undefined) continue;
    const claims = new Map<string, Ports[]>();
    for (const table of its) await readClaims(table, claims, env);
    const found = overlap(spec, claims);
    if (found === undefined) continue;
    const problem = new IoError(
      `another uoa-proxy ${found} in this network namespace (its guard is the nft table ${rival})`,
      'stop it first, or give each its own VIP:vport, LIPs or lports: both would get the same packets',
    );
    if (isDecided) return { isDecided, problem };
    undecided = { isDecided, problem };
  }
  return undecided;
}

/** In the order of the spec. */
function overlap(
  { vips, lips }: { vips: readonly VipPort[]; lips: readonly LipPorts[] },
  claims: ReadonlyMap<string, Ports[]>,
): string | undefined {
  const isTaken = (ip: string, first: number, last: number): boolean =>
    claims.get(ip)?.some((one) => one.first <= last && first <= one.last) ?? false;
  const vip = vips.find(({ ip, port }) => isTaken(ip, port, port));
  if (vip !== undefined) return `serves UDP ${formatEndpoint(vip.ip, vip.port)}`;
  for (const { ip, ranges } of mergePorts([], lips)) {
    const taken = ranges.find(({ first, last }) => isTaken(ip, first, last));
    if (taken === undefined) continue;
    const { first, last } = claims
      .get(ip)!
      .find((one) => one.first <= taken.last && taken.first <= one.last)!;
    return `has the LIP ${ip} with lports ${first}-${last}`;
  }
  return undefined;
}

interface Table {
  family: string;
  name: string;
}

interface Outline extends Table {
  /** The younger, the larger; of one that is gone without bound. */
  handle: number;
  sets: string[];
  chains: string[];
}

async function listGuards(env: NodeJS.ProcessEnv): Promise<Table[]> {
  const text = await nft(['list', 'tables'], env);
  return [...text.matchAll(/^table (\S+) (\S+)/gm)]
    .map(([, family = '', name = '']) => ({ family, name }))
    .filter(({ name }) => GUARD_NAME.test(name));
}

/** Without elements: there is a set of what goes by in fragments, too. */
async function outline({ family, name }: Table, env: NodeJS.ProcessEnv): Promise<Outline> {
  const text = await listed(['--handle', '--terse', 'list', 'table', family, name], env);
  const handle = /^table .*# (?:.* )?handle (\d+)/m.exec(text)?.[1];
  const named = (what: 'set' | 'chain') =>
    [...text.matchAll(new RegExp(`^\\s*${what} (\\S+) \\{`, 'gm'))].map(([, found = '']) => found);
  const [sets, chains] = [named('set'), named('chain')];
  return {
    family,
    name,
    sets,
    chains,
    handle: handle === undefined ? Number.POSITIVE_INFINITY : Number(handle),
  };
}

async function readClaims(
  { family, name, sets }: Outline,
  claims: Map<string, Ports[]>,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  for (const set of sets) {
    const range = RANGE_SET.exec(set);
    if (range === null && set !== POINTS) continue;
    const text = await listed(['list', 'set', family, name, set], env);
    // Of a set of addresses, or of pairs.
    for (const [, ip = '', port] of elementsOf(text).matchAll(/([0-9a-f.:]+)(?: \. (\d+))?/g)) {
      const first = Number(range?.[1] ?? port);
      const last = Number(range?.[2] ?? port);
      const key = canonicalAddress(ip);
      const ports = claims.get(key);
      if (ports === undefined) claims.set(key, [{ first, last }]);
      else ports.push({ first, last });
    }
  }
}

/** Nothing where the table or set is gone meanwhile. */
const listed = (words: readonly string[], env: NodeJS.ProcessEnv): Promise<string> =>
  nft(words, env).catch((error: Error) => {
    if (/No such file/.test(error.message)) return '';
    throw error;
  });

const elementsOf = (set: string): string => /elements = \{([^}]*)\}/.exec(set)?.[1] ?? '';

/** As text: the JSON of nft 1.0.6 is broken where a table has an owner. */
async function nft(words: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  try {
    return (await run('nft', ['--numeric', ...words], { env, maxBuffer: OUTPUT_MAX })).stdout;
  } catch (error) {
    const { cause, hint } = childFailure(error);
    throw new IoError(`cannot look for other proxies: nft ${words.join(' ')}: ${cause}`, hint ?? '');
  }
}
