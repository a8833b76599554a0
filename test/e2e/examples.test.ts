// The servers in examples/, as they stand there: each, in its language, names every client by its true
// address, in every dialect that a socket gets to see, answers no carrier, and knows its clients again after
// a restart.
import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { LabDialect } from '../../src/lab/family.ts';
import { createScratch, removeScratch } from '../../src/lab/namespace.ts';
import { LB_LAN_IPS, LIPS, type Topology, VIPS } from '../../src/lab/topology.ts';
import { formatEndpoint } from '../../src/wire/address.ts';
import { type Rig, startPython, startRig } from './harness.ts';
import { PAIRS } from './pairs.ts';

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));
const ADMIN = `http://${LB_LAN_IPS[4]}:9464`;
const TOKEN = 'token-of-the-examples';
/** Of each service and family, beside each other. */
const SOCKETS = 10;
/** What fills an MTU of 1,500, so that a carrier goes ahead where there is a UOA. */
const FULL = 1452;

interface Language {
  name: string;
  /** Makes the program of examples/FILE in a folder. */
  build?: (folder: string) => readonly string[];
  /** How it is run; `program` is what was built. */
  argv: (program: string) => readonly string[];
  package: string;
  asksProxy?: true;
}

const file = (name: string) => join(EXAMPLES, name);
const LANGUAGES: readonly Language[] = [
  { name: 'Python', argv: () => ['python3', '-B', file('server.py')], package: 'python3' },
  {
    name: 'C',
    build: (out) => ['gcc', '-Wall', '-Wextra', '-Werror', '-O2', '-o', out, file('server.c')],
    argv: (program) => [program],
    package: 'gcc',
  },
  {
    name: 'Go',
    build: (out) => ['go', 'build', '-o', out, file('server.go')],
    argv: (program) => [program],
    package: 'golang-go',
  },
  {
    name: 'Rust',
    build: (out) => ['rustc', '--edition', '2021', '-D', 'warnings', '-O', '-o', out, file('server.rs')],
    argv: (program) => [program],
    package: 'rustc',
  },
  { name: 'Node', argv: () => [process.execPath, file('look-up.mjs')], package: 'nodejs', asksProxy: true },
];

/** A real server per dialect and family, because a host may have one dialect with option 31 only. */
const SERVERS: readonly { ip: string; dialect: LabDialect }[] = [
  { ip: '10.2.0.11', dialect: 'ipo' },
  { ip: '10.2.0.12', dialect: 'unified' },
  { ip: 'fd00:2::11', dialect: 'elb' },
  { ip: 'fd00:2::12', dialect: 'unified' },
];

function build({ build, package: wanted }: Language, scratch: string): string {
  if (build === undefined) return '';
  const program = join(scratch, 'server');
  const [compiler = '', ...args] = build(program);
  const env = { ...process.env, GOCACHE: join(scratch, 'go'), GO111MODULE: 'off' };
  const { error, status, stderr } = spawnSync(compiler, args, { encoding: 'utf8', env });
  if (error !== undefined)
    throw new Error(`this test needs the program ${compiler}: apt-get install ${wanted} (${error.message})`);
  assert.equal(status, 0, stderr);
  return program;
}

async function serve(
  topology: Topology,
  { argv, asksProxy }: Language,
  program: string,
  { ip, port }: { ip: string; port: number },
): Promise<ChildProcess> {
  const args = [ip, String(port), ...(asksProxy ? [ADMIN] : [])];
  const child = topology.spawn('rs', [...argv(program), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, UOA_PROXY_TOKEN: TOKEN },
  });
  const [line] = (await once(createInterface({ input: child.stdout! }), 'line')) as [string];
  assert.equal(line, 'ready');
  return child;
}

interface Asked {
  right: number;
  missing: string[];
  wrong: Record<string, number>;
}

/** programs/named.py: clients of both families at every service. */
async function clientsOf(rig: Rig, vports: readonly number[]) {
  const { clientIps } = rig.topology;
  const program = startPython(rig.topology, 'client', 'named.py', {
    addresses: [...clientIps[4], ...clientIps[6]],
    to: vports.flatMap((vport) => [
      [VIPS[4], vport, SOCKETS],
      [VIPS[6], vport, SOCKETS],
    ]),
  });
  await program.ready;
  const answers = createInterface({ input: program.child.stdout! })[Symbol.asyncIterator]();
  return async (size: number): Promise<Asked> => {
    program.child.stdin!.write(`${JSON.stringify({ size })}\n`);
    const { value } = await answers.next();
    return JSON.parse(value as string) as Asked;
  };
}

async function startNetwork(
  t: TestContext,
  asksProxy: boolean,
  scratch: string,
): Promise<{ rig: Rig; vports: number[] }> {
  const tokenFile = join(scratch, 'token');
  writeFileSync(tokenFile, TOKEN, { mode: 0o400 });
  const vports = SERVERS.map((_, at) => 6000 + at);
  const service = ({ ip, dialect }: (typeof SERVERS)[number], at: number) => ({
    realServers: [{ ip, port: 6000 }],
    uoa: { dialect: asksProxy ? ('none' as const) : dialect },
    vport: vports[at],
  });
  const [first, ...others] = SERVERS.map(service);
  const rig = await startRig(t, {
    pair: PAIRS.nat64,
    servers: 2,
    clients: 3,
    realServers: first!.realServers,
    uoa: first!.uoa,
    config: { admin: { listen: '0.0.0.0:9464', tokenFile } },
    others: others.map((one, at) => ({
      ...one,
      name: nameOf(1 + at),
      vip: [VIPS[4], VIPS[6]],
      lips: [...LIPS[4], ...LIPS[6]],
    })),
  });
  return { rig, vports };
}

const nameOf = (at: number): string => (at === 0 ? 'test' : `test-${at}`);

async function announce(rig: Rig): Promise<void> {
  for (const [at, { ip }] of SERVERS.entries())
    await rig.post(
      `/services/${nameOf(at)}/servers/${encodeURIComponent(formatEndpoint(ip, 6000))}/announce`,
    );
}

for (const language of LANGUAGES) {
  describe(`the server in ${language.name}`, () => {
    const scratch = createScratch();
    let program = '';
    before(() => {
      program = build(language, scratch);
    });
    after(() => removeScratch(scratch));

    test('names every client of both families in every dialect, answers no carrier, and survives a restart', async (t) => {
      const { rig, vports } = await startNetwork(t, language.asksProxy === true, scratch);
      const start = () =>
        Promise.all(SERVERS.map(({ ip }) => serve(rig.topology, language, program, { ip, port: 6000 })));
      const servers = await start();
      const ask = await clientsOf(rig, vports);
      const all = 2 * SOCKETS * SERVERS.length;
      for (const size of [64, FULL, 0]) {
        const asked = await ask(size);
        assert.deepEqual(asked.missing, [], JSON.stringify(asked));
        assert.equal(asked.right, all);
        // Whoever answers a carrier sends its client an answer without what that sent.
        assert.deepEqual(asked.wrong, {}, 'nobody is taken for another, nor for the proxy');
      }
      if (!language.asksProxy) assert.ok((await rig.metric('uoa_sent_total', { carriage: 'carrier' })) > 0);

      for (const server of servers) {
        server.kill('SIGKILL');
        if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
      }
      await start();
      // Nothing was sent to it meanwhile, so the proxy did not notice.
      if (!language.asksProxy) await announce(rig);
      const asked = await ask(64);
      assert.deepEqual(asked.missing, [], JSON.stringify(asked));
      // Who is not told yet is called by LIP:lport, and none is taken for another.
      for (const text of Object.keys(asked.wrong))
        assert.match(text.split(' <- ')[1]!, /^(10\.2\.0\.20[01]|\[fd00:2::20[01]\]):\d+ /);
      if (language.asksProxy) assert.deepEqual(asked.wrong, {}, 'it asks at once');
    });
  });
}
