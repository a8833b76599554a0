import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { killProcess, ownIdentity, type ProcessIdentity } from '../../src/control/process-identity.ts';

const PROGRAM = fileURLToPath(new URL('./process-identity-program.ts', import.meta.url));

interface Other {
  child: ChildProcess;
  exited: Promise<unknown[]>;
  identity: ProcessIdentity;
}

/** A process that lives; `under`: a command to run it by, which becomes it. */
async function startOther(t: TestContext, under: readonly string[] = []): Promise<Other> {
  const [command, ...args] = [...under, 'sh', '-c', 'echo; exec sleep 600'];
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const exited = once(child, 'exit');
  await once(child.stdout!, 'data');
  const started = readFileSync(`/proc/${child.pid}/stat`, 'latin1').split(') ')[1]!.split(' ')[19]!;
  return { child, exited, identity: { ...ownIdentity(), pid: child.pid!, started } };
}

/** By a process of this user that has no capabilities, after `prepare` in a mount namespace of its own. */
function killWithoutCapabilities(identity: ProcessIdentity, prepare = ':'): string {
  const script = `${prepare}; exec setpriv --bounding-set=-all --inh-caps=-all "$@"`;
  const program = [process.execPath, '--import', 'tsx', PROGRAM, JSON.stringify(identity)];
  return JSON.parse(
    execFileSync('unshare', ['--mount', 'sh', '-ec', script, 'sh', ...program], { encoding: 'utf8' }),
  );
}

const isAlive = ({ child }: Other): boolean => child.exitCode === null && process.kill(child.pid!, 0);

test('a process is killed by its identity, and one that is gone is done', async (t) => {
  const { exited, identity } = await startOther(t);
  assert.equal(killProcess(identity), '');
  assert.deepEqual(await exited, [null, 'SIGKILL']);
  assert.equal(killProcess(identity), '');
});

test('a process that only has the number is not killed', async (t) => {
  const other = await startOther(t);
  assert.equal(killProcess({ ...other.identity, started: '1' }), '');
  assert.equal(killProcess({ ...other.identity, namespace: 'pid:[1]' }), 'it is in another PID namespace');
  assert.equal(isAlive(other), true);
});

test('a process that /proc hides is not taken for one that is gone', async (t) => {
  const other = await startOther(t);
  // Who is of that group sees all; by itself it is root's.
  const hide = 'mount -t proc -o hidepid=invisible,gid=65534 proc /proc';
  assert.match(killWithoutCapabilities(other.identity, hide), /this \/proc hides it/);
  assert.equal(isAlive(other), true);
});

test('a process of another user is not taken for one that is killed', async (t) => {
  const other = await startOther(t, ['setpriv', '--reuid=65534', '--clear-groups']);
  assert.match(killWithoutCapabilities(other.identity), /EPERM/);
  assert.equal(isAlive(other), true);
});
