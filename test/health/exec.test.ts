// Checks by a program, with shells as programs.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { check, failure, SUCCESS } from './sample.ts';

const shell = (script: string, ...args: string[]) => ({
  type: 'exec',
  command: ['/bin/sh', '-c', script, 'sh', ...args],
});

function scratch(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-exec-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Waits until the process has ended; a zombie has. */
async function untilEnded(pid: number): Promise<void> {
  for (let round = 0; ; round++) {
    try {
      if (/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return;
    } catch {
      return;
    }
    assert.ok(round < 1000, `process ${pid} goes on`);
    await sleep(10);
  }
}

const rows: [string, object, ReturnType<typeof failure>][] = [
  ['exit code 0 is a success', shell('exit 0'), SUCCESS],
  ['another exit code is a failure', shell('exit 2'), failure('exit code 2')],
  [
    'the reason ends with the last line of standard error',
    shell('echo one >&2; echo "two  " >&2; echo out; exit 3'),
    failure('exit code 3: two'),
  ],
  ['a signal is a failure', shell('kill -TERM $$'), failure('killed by SIGTERM')],
  [
    'arguments reach the program as they are',
    shell('[ "$1" = "a b; \\$(id)" ] || exit 9', 'a b; $(id)'),
    SUCCESS,
  ],
  [
    'a long line of control characters is cut and made printable',
    shell('printf "\\033[2J%0300d\\n" 7 >&2; exit 1'),
    failure(`exit code 1: [2J${'0'.repeat(197)}...`),
  ],
  [
    'a program that floods its outputs is heard to its end',
    shell('head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo end >&2; exit 1'),
    failure('exit code 1: end'),
  ],
  ['standard input is empty', shell('read line && exit 1; exit 0'), SUCCESS],
];
for (const [name, settings, expected] of rows)
  test(name, async () => assert.deepEqual(await check(settings), expected));

test('the environment names service and real server, has PATH, and nothing else of the proxy', async (t) => {
  const path = join(scratch(t), 'environment');
  const settings = { ...shell('env > "$1"', path), port: 7000 };
  process.env.UOA_PROXY_TEST_SECRET = 'secret';
  t.after(() => {
    delete process.env.UOA_PROXY_TEST_SECRET;
  });
  assert.deepEqual(await check(settings, { ip: 'fd00::7' }), SUCCESS);
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !/^(PWD|SHLVL|_|OLDPWD)=/.test(line));
  assert.deepEqual(lines.sort(), [
    `PATH=${process.env.PATH}`,
    'UOA_PROXY_RS_IP=fd00::7',
    'UOA_PROXY_RS_PORT=7000',
    'UOA_PROXY_SERVICE=game',
  ]);
});

test('a program that hangs is killed together with what it started', async (t) => {
  const path = join(scratch(t), 'pids');
  const settings = { ...shell('trap "" TERM; sleep 1000 & echo $$ $! > "$1"; echo stuck >&2; wait', path) };
  const result = await check({ ...settings, timeout: '4s' });
  assert.deepEqual(result, failure('still running after 4s: stuck'));
  const pids = readFileSync(path, 'utf8').trim().split(' ').map(Number);
  assert.equal(pids.length, 2);
  for (const pid of pids) await untilEnded(pid);
});

for (const [how, exit, expected] of [
  ['succeeded', 0, SUCCESS],
  ['failed', 4, failure('exit code 4: bye')],
] as const) {
  test(`what a program that ${how} left running is killed, and is not waited for`, async (t) => {
    const path = join(scratch(t), 'pid');
    const script = `sleep 1000 & echo $! > "$1"; echo bye >&2; exit ${exit}`;
    assert.deepEqual(await check({ ...shell(script, path), timeout: '60s' }), expected);
    await untilEnded(Number(readFileSync(path, 'utf8')));
  });
}

test('a program that is given up is killed', async (t) => {
  const path = join(scratch(t), 'pid');
  const control = new AbortController();
  const checked = check(shell('echo $$ > "$1.new"; mv "$1.new" "$1"; sleep 1000', path), {}, control.signal);
  while (statSync(path, { throwIfNoEntry: false }) === undefined) await sleep(5);
  control.abort();
  assert.deepEqual(await checked, failure('given up'));
  await untilEnded(Number(readFileSync(path, 'utf8')));
});

test('a program that cannot be run says nothing about the server', async (t) => {
  const path = join(scratch(t), 'data');
  writeFileSync(path, 'no program');
  await assert.rejects(check({ type: 'exec', command: ['/nonexistent/check'] }), {
    name: 'CannotCheck',
    message: 'health.command /nonexistent/check cannot be run: no such program',
  });
  await assert.rejects(check({ type: 'exec', command: [path] }), {
    name: 'CannotCheck',
    message: `health.command ${path} cannot be run: not executable`,
  });
});

test('no more than 32 programs run at a time, the others wait for their turn or are given up', async (t) => {
  const folder = scratch(t);
  const control = new AbortController();
  // Each leaves a mark, waits until `go` is there, and ends.
  const script = 'echo > "$1/$$"; until [ -e "$1/go" ]; do sleep 0.05; done';
  const marks = () => readdirSync(folder).length;
  const waiting = Array.from({ length: 40 }, () => check({ ...shell(script, folder), timeout: '60s' }));
  const unwanted = check({ ...shell(script, folder), timeout: '60s' }, {}, control.signal);
  while (marks() < 32) await sleep(5);
  control.abort();
  assert.deepEqual(await unwanted, failure('given up'));
  assert.equal(marks(), 32);
  writeFileSync(join(folder, 'go'), '');
  assert.ok((await Promise.all(waiting)).every(({ ok }) => ok));
  assert.equal(marks(), 41);
});
