// How the suite judges what it runs, shown with small test files of its own.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { isNetTest } from './files.ts';
import { type Job, type Outcome, runJob } from './job.ts';
import { stubPackages, withoutPrivileges } from './unprivileged.ts';

const TEST = "import test from 'node:test'; import { spawn, spawnSync } from 'node:child_process';\n";

function jobOf(t: TestContext, text: string): Job {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-suite-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'some.test.mjs');
  writeFileSync(path, TEST + text);
  const argv = [process.execPath, '--test-reporter=spec', path];
  return { name: 'some.test', command: '', argv, isTest: true };
}

const countOf = ({ passed, failed, skipped }: Outcome) => [passed, failed, skipped];

describe('a test file', () => {
  test('counts by its tests', async (t) => {
    const text = `
      test('a', () => {}); test('b', () => {}); test('c', () => { throw new Error('see me'); });
      test('d', { skip: 'for a reason' }, () => {}); test.todo('e');`;
    const outcome = await runJob(jobOf(t, text));
    assert.deepEqual(countOf(outcome), [2, 1, 2]);
    assert.match(outcome.output, /see me/);
    assert.match(outcome.output, /d .*# for a reason/);
  });

  const broken: [how: string, text: string, said: RegExp][] = [
    ['breaks before its first test', "throw new Error('early')", /early.*ended with exit code/s],
    ['ends its process while tests pass', "test('a', () => {}); process.exit(0)", /ran no test/],
    [
      'exits with another code though all passed',
      "test('a', () => {}); process.on('exit', () => process.exit(3))",
      /exit code 3/,
    ],
    ['is killed', "test('a', () => process.kill(process.pid, 'SIGKILL'))", /ended with SIGKILL/],
    ['kills its own process group', "test('a', () => process.kill(0, 'SIGKILL'))", /ended with SIGKILL/],
    ['has no test', '', /ran no test/],
    [
      'leaves a process running',
      "test('a', () => spawn('sleep', ['1000'], { stdio: 'ignore' }).unref())",
      /left the process sleep running/,
    ],
  ];
  for (const [how, text, said] of broken) {
    test(`fails that ${how}`, async (t) => {
      const outcome = await runJob(jobOf(t, text));
      assert.deepEqual(outcome.failed, 1, outcome.output);
      assert.match(outcome.output, said);
    });
  }

  test('fails that does not end', async (t) => {
    const outcome = await runJob(
      jobOf(t, "test('a', () => new Promise((end) => setTimeout(end, 1e9)))"),
      100,
    );
    assert.equal(outcome.failed, 1);
    assert.match(outcome.output, /did not end within 0.1 s/);
  });

  test('that cannot be started fails', async () => {
    const outcome = await runJob({ name: 'none', command: '', argv: ['/nonexistent'], isTest: true });
    assert.deepEqual(countOf(outcome), [0, 1, 0]);
    assert.match(outcome.output, /ENOENT/);
  });
});

test('a network namespace that is left behind is deleted, with what runs in it, and fails the file', async () => {
  const text =
    'ip netns add uoat-$$-x && echo $$ && { setsid ip netns exec uoat-$$-x sleep 1000 <&- >&- 2>&- & }; echo "ℹ pass 1"';
  const argv = ['bash', '-c', text];
  const { output, failed } = await runJob({ name: 'some', command: '', argv, isTest: true });
  const pid = output.split('\n')[0];
  assert.equal(failed, 1, output);
  assert.match(output, new RegExp(`some left the network namespace uoat-${pid}-x behind`));
  assert.deepEqual(
    readdirSync('/run/netns').filter((name) => name.includes(`-${pid}-`)),
    [],
  );
});

test('another command passes or fails by its exit code', async () => {
  const check = { name: 'check', command: '', isTest: false };
  assert.deepEqual(countOf(await runJob({ ...check, argv: ['true'] })), [1, 0, 0]);
  assert.deepEqual(countOf(await runJob({ ...check, argv: ['false'] })), [0, 1, 0]);
});

describe('a unit test', () => {
  test('that needs a privilege or a package fails, whoever runs it', async (t) => {
    const stubs = stubPackages();
    t.after(() => rmSync(stubs, { recursive: true }));
    const text = `
      import assert from 'node:assert'; import { readFileSync } from 'node:fs';
      test('capabilities', () => assert.match(readFileSync('/proc/self/status', 'utf8'), /^CapEff:\\t0+$/m));
      test('packages', () => assert.equal(spawnSync('nft', ['--version']).status, 127));`;
    assert.deepEqual(countOf(await runJob(withoutPrivileges(jobOf(t, text), stubs))), [2, 0, 0]);
  });

  test('is told from a net test by what it or its helpers say', (t) => {
    const root = mkdtempSync(join(tmpdir(), 'uoa-suite-'));
    t.after(() => rmSync(root, { recursive: true }));
    const write = (path: string, text: string) => writeFileSync(join(root, path), text);
    assert.equal(isNetTest('.', 'test/io/ring.test.ts'), true, 'by a helper');
    assert.equal(isNetTest('.', 'test/route/next-hop-many.test.ts'), true, 'by the helper of a helper');
    assert.equal(isNetTest('.', 'test/packets/builder.test.ts'), false);
    write('own.test.ts', "run('tshark')");
    assert.equal(isNetTest(root, 'own.test.ts'), true, 'by its own text');
    write('none.test.ts', "import { a } from './missing.ts'");
    assert.equal(isNetTest(root, 'none.test.ts'), false);
  });
});
