// What a test that is ended from outside leaves in the network: nothing, or nothing for long.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { namespace, sh } from './namespaces.ts';

const isThere = (name: string): boolean => readdirSync('/run/netns').includes(name);

/**
 * Starts a process that makes a namespace, runs a program in it and waits. Resolves with the namespace's
 * name.
 */
async function startMaker(t: TestContext) {
  const module = new URL('./namespaces.ts', import.meta.url).href;
  const program = `
    import { namespace } from '${module}';
    const name = namespace({ after() {} }, 'm');
    const inside = ['netns', 'exec', name, 'sh', '-c', 'echo; exec sleep 1000 >/dev/null'];
    const { stdout } = (await import('node:child_process')).spawn('ip', inside, { stdio: ['ignore', 'pipe', 'ignore'] });
    stdout.once('data', () => console.log(name));
    setInterval(() => {}, 1000);`;
  const argv = ['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', program];
  const maker = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => maker.kill('SIGKILL'));
  const name = String((await once(maker.stdout, 'data'))[0]).trim();
  assert.ok(isThere(name));
  return { maker, name };
}

test('a test that is told to end removes its namespaces', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const { maker, name } = await startMaker(t);
    maker.kill(signal);
    await once(maker, 'exit');
    assert.equal(isThere(name), false, signal);
  }
});

test('namespaces of a test that was killed are removed by the next one', async (t) => {
  const { maker, name } = await startMaker(t);
  maker.kill('SIGKILL');
  await once(maker, 'exit');
  // By this one, or by a test file that begins beside it just now.
  const { maker: other } = await startMaker(t);
  assert.equal(isThere(name), false);
  other.kill('SIGTERM');
  await once(other, 'exit');
});

test('a namespace is gone when its test ends, with what runs in it', async (t) => {
  let name = '';
  await t.test('inner', (inner) => {
    name = namespace(inner, 'n');
    sh(`ip netns exec ${name} sh -c 'sleep 1000 >/dev/null 2>&1 &'`);
  });
  assert.equal(isThere(name), false);
});
