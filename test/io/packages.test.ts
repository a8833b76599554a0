// Packet I/O without the packages cap and raw-socket: ring works, and where pcap cannot, an operator is told
// in a typed error what to do.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startEndpoint } from '../host/endpoint.ts';
import {
  assertPass,
  BOTH_FAMILIES,
  CIP,
  CIP6,
  RIP,
  RIP6,
  report,
  TWO_ARM,
  VIP,
  VIP6,
  VPORT,
} from '../steer/relay.ts';
import { startProgram, threeInARow } from './namespaces.ts';

/**
 * Runs a command with `file` unreadable as a library, for itself only: a program in a namespace has its own
 * mounts.
 */
const without = (file: string) => [
  'bash',
  '-c',
  `mount --bind /dev/null ${realpathSync(file)} && exec "$@"`,
  'bash',
];

/** The same with these packages not installed. */
const notInstalled = (...names: string[]) => [
  'bash',
  '-c',
  `${names.map((name) => `mount -t tmpfs none ${directoryOf(name)}`).join(' && ')} && exec "$@"`,
  'bash',
];

const directoryOf = (name: string) =>
  realpathSync(path.dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)));

const nativeOf = (name: string, file: string) => path.join(directoryOf(name), 'build/Release', file);

const WITHOUT_NET_RAW = ['setpriv', '--bounding-set', '-net_raw', '--inh-caps', '-net_raw'];

async function assertFails(
  t: TestContext,
  { file = 'steer/relay-program.ts', spec = TWO_ARM as unknown, wrapper = [] as string[] },
  ...expected: RegExp[]
): Promise<void> {
  const { lb } = threeInARow(t);
  const program = startProgram(t, lb, file, spec, wrapper);
  await assert.rejects(program.next('ready'), (error: Error) => {
    for (const pattern of [/IoError/, ...expected]) assert.match(error.message, pattern);
    return true;
  });
}

test('without the link libpcap.so the error names the package that has it', async (t) => {
  const libpcap = '/usr/lib/x86_64-linux-gnu/libpcap.so';
  await assertFails(t, { wrapper: without(libpcap) }, /Debian package libpcap-dev/);
});

for (const [missing, said] of [
  [['cap'], 'the package cap, which is not installed'],
  [['raw-socket'], 'the package raw-socket, which is not installed'],
  [['cap', 'raw-socket'], 'the packages cap and raw-socket, which are not installed'],
] as const) {
  test(`pcap without ${missing.join(' and ')} is an error that says so, and how to get it`, async (t) => {
    const wrapper = notInstalled(...missing);
    await assertFails(t, { wrapper }, new RegExp(`pcap needs ${said}`), /build-essential/, /npm ci/, /ring/);
  });
}

test('check warns where pcap is asked for and a package of it is not installed', (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'uoa-proxy-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const config = path.join(folder, 'config.yaml');
  const check = (mode: string, wrapper: readonly string[]) => {
    writeFileSync(
      config,
      `io: { mode: ${mode} }\nservices: [{ vip: 10.1.0.1, vport: 6000, lips: [10.2.0.1], realServers: [{ ip: 10.2.0.2, port: 6000 }] }]\n`,
    );
    const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
    const [program = '', ...args] = [
      ...['unshare', '--mount', ...wrapper, process.execPath, '--import', 'tsx'],
      ...[main, 'check', '--config', config],
    ];
    const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stderr;
  };
  const without = notInstalled('raw-socket');
  assert.match(
    check('pcap', without),
    /^warning: io\.mode: .*package raw-socket, which is not installed .*npm ci/,
  );
  assert.equal(check('pcap', []), '');
  assert.equal(check('auto', without), '');
});

test('ring needs neither cap nor raw-socket, also where a packet needs the IP layer', async (t) => {
  const { client, lb, server } = threeInARow(t);
  const wrapper = notInstalled('cap', 'raw-socket');
  const relay = startProgram(t, lb, 'steer/relay-program.ts', BOTH_FAMILIES, wrapper);
  await relay.next('ready');
  for (const [cip, vip, rip] of [
    [CIP, VIP, RIP],
    [CIP6, VIP6, RIP6],
  ] as const) {
    await startEndpoint(t, server, { ip: rip, port: VPORT, echo: true });
    await assertPass(await startEndpoint(t, client, { ip: cip }), vip, [0, 64, 1400]);
  }
  const { sent, sentByIp } = (await report(relay)).counters[2];
  assert.equal(sent, 12);
  assert.ok(sentByIp >= 2, 'packets to neighbors that nobody had asked yet went through the IP layer');
  await relay.stop();
});

test('without its native part the error of cap names what builds it', async (t) => {
  const wrapper = without(nativeOf('cap', 'cap.node'));
  await assertFails(t, { wrapper }, /package cap cannot be loaded/, /build-essential/, /npm rebuild cap/);
});

test('without its native part the error of raw-socket names what builds it', async (t) => {
  const wrapper = without(nativeOf('raw-socket', 'raw.node'));
  await assertFails(t, { wrapper }, /package raw-socket cannot be loaded/, /npm rebuild raw-socket/);
});

test('sending without CAP_NET_RAW is an error that names it', async (t) => {
  const program = { file: 'io/send-program.ts', spec: { packets: [] }, wrapper: WITHOUT_NET_RAW };
  await assertFails(t, program, /cannot open a raw socket/, /CAP_NET_RAW/);
});

test('capturing without CAP_NET_RAW is an error that names it', async (t) => {
  const program = {
    file: 'io/capture-program.ts',
    spec: { device: 'wan0', terms: 1 },
    wrapper: WITHOUT_NET_RAW,
  };
  await assertFails(t, program, /cannot capture on wan0/, /CAP_NET_RAW/);
});

test('capturing on an interface that does not exist is an error that says so', async (t) => {
  const program = { file: 'io/capture-program.ts', spec: { device: 'eth77', terms: 1 } };
  await assertFails(t, program, /cannot capture on eth77/, /name an interface that exists/);
});

test('a filter that the kernel does not take is an error, not a capture of everything', async (t) => {
  const program = { file: 'io/capture-program.ts', spec: { device: 'wan0', terms: 600 } };
  await assertFails(t, program, /the capture filter cannot be changed/, /net\.core\.optmem_max/);
});
