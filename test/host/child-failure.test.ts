// What an operator is told when a program that the proxy runs fails.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import test from 'node:test';
import { promisify } from 'node:util';
import { childFailure } from '../../src/host/child-failure.ts';
import { namespace, startProgram } from '../io/namespaces.ts';
import type { Told } from './descriptors-program.ts';

const run = promisify(execFile);
const causeOf = (script: string) =>
  run('bash', ['-c', script]).then(
    () => '',
    (error: unknown) => childFailure(error).cause,
  );

test('the cause is what it said, or how it ended when it said nothing', async () => {
  assert.equal(await causeOf('echo no such device >&2; exit 1'), 'no such device');
  assert.equal(await causeOf('exit 3'), 'exit code 3');
  assert.equal(await causeOf('kill -TERM $$'), 'it was ended by SIGTERM');
});

test('where no file may be opened any more, each that needs one says so', async (t) => {
  const few = ['bash', '-c', 'ulimit -n 128 && exec "$@"', 'bash'];
  const program = startProgram(t, namespace(t, 'd'), 'host/descriptors-program.ts', {}, few);
  const [host, guard, config, check, addresses, ports] = await program.next<Told[]>('errors');
  assert.match(host.message, /^the kernel cannot be asked for interfaces and addresses: .* EMFILE$/);
  assert.match(host.hint, /LimitNOFILE/);
  assert.match(guard.message, /^cannot install the guard: spawn sh EMFILE$/);
  assert.match(guard.hint, /LimitNOFILE/);
  assert.match(config.message, /cannot be checked: spawn \S+ EMFILE/);
  assert.match(addresses.message, /^addresses cannot be changed: .* EMFILE$/);
  assert.match(addresses.hint, /LimitNOFILE/);
  assert.match(ports.message, /^\["lo is in an unknown state: .* EMFILE"\]$/);
  assert.match(check.message, /health\.command true cannot be run: spawn true EMFILE/);
});
