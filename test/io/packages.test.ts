// What an operator is told when cap or raw-socket cannot work: each time a typed error that names what to do.
import assert from 'node:assert/strict';
import { realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { startProgram, threeInARow } from './namespaces.ts';
import type { RelaySpec } from './relay-program.ts';

const RELAY: RelaySpec = {
  vips: [{ ip: '10.1.0.1', port: 6000 }],
  lips: [{ ip: '10.2.0.1', first: 1024, last: 65535 }],
  rips: ['10.2.0.2'],
  rewrite: {},
};

/** Runs a command with `file` unreadable as a library, for itself only: a program in a namespace has its own mounts. */
const without = (file: string) => [
  'bash',
  '-c',
  `mount --bind /dev/null ${realpathSync(file)} && exec "$@"`,
  'bash',
];

const nativeOf = (name: string, file: string) =>
  path.join(
    path.dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)),
    'build/Release',
    file,
  );

const WITHOUT_NET_RAW = ['setpriv', '--bounding-set', '-net_raw', '--inh-caps', '-net_raw'];

async function assertFails(
  t: TestContext,
  { file = './relay-program.ts', spec = RELAY as unknown, wrapper = [] as string[] },
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

test('without its native part the error of cap names what builds it', async (t) => {
  const wrapper = without(nativeOf('cap', 'cap.node'));
  await assertFails(t, { wrapper }, /package cap cannot be loaded/, /build-essential/, /npm rebuild cap/);
});

test('without its native part the error of raw-socket names what builds it', async (t) => {
  const wrapper = without(nativeOf('raw-socket', 'raw.node'));
  await assertFails(t, { wrapper }, /package raw-socket cannot be loaded/, /npm rebuild raw-socket/);
});

test('sending without CAP_NET_RAW is an error that names it', async (t) => {
  const program = { file: './send-program.ts', spec: { packets: [] }, wrapper: WITHOUT_NET_RAW };
  await assertFails(t, program, /cannot open a raw socket/, /CAP_NET_RAW/);
});

test('capturing without CAP_NET_RAW is an error that names it', async (t) => {
  const program = {
    file: './capture-program.ts',
    spec: { device: 'wan0', terms: 1 },
    wrapper: WITHOUT_NET_RAW,
  };
  await assertFails(t, program, /cannot capture on wan0/, /CAP_NET_RAW/);
});

test('capturing on an interface that does not exist is an error that says so', async (t) => {
  const program = { file: './capture-program.ts', spec: { device: 'eth77', terms: 1 } };
  await assertFails(t, program, /cannot capture on eth77/, /name an interface that exists/);
});

test('a filter that the kernel does not take is an error, not a capture of everything', async (t) => {
  for (const terms of [600, 6_000]) {
    const program = { file: './capture-program.ts', spec: { device: 'wan0', terms } };
    await assertFails(t, program, /too long for the kernel/, /fewer services/);
  }
});
