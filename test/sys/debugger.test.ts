// SIGUSR1 opens no debugger, whenever it comes.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { environmentWithoutDebugger, withoutDebugger } from '../../src/sys/debugger.ts';
import { TYPESCRIPT } from '../suite/programs.ts';

const PROGRAM = fileURLToPath(new URL('./debugger-program.ts', import.meta.url));

describe('a process that keeps its debugger shut', () => {
  for (const [when, delayMs] of [
    ['as soon as Node takes it', 0],
    ['a moment later', 60],
    ['when it runs', 3000],
  ] as const) {
    it(`opens none for a SIGUSR1 that comes ${when}`, async () => {
      const child = spawn(process.execPath, [...TYPESCRIPT, PROGRAM], {
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      let said = '';
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (text) => {
          said += text;
        });
      const ended = once(child, 'close');
      // Before that the signal ends any process.
      const isTaken = () =>
        (BigInt(`0x${/^SigCgt:\s+(\S+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]}`) >>
          9n) &
        1n;
      while (isTaken() === 0n) await sleep(1);
      await sleep(delayMs);
      process.kill(child.pid!, 'SIGUSR1');
      while (!said.includes('ready')) await sleep(10);
      child.stdin.end('ask');
      await ended;
      // A debugger that was opened for a moment, before anything of ours could run, is closed again.
      assert.match(said, /ready\nno debugger\n$/);
      assert.equal(child.exitCode, 0);
    });
  }
});

describe('options for a child', () => {
  const rows: [options: string, left: string][] = [
    ['--inspect --import tsx', '--import tsx'],
    ['--import tsx --inspect=0.0.0.0:9229 --inspect-brk=1', '--import tsx'],
    ['--inspect-port 9333 --max-old-space-size=64', '--max-old-space-size=64'],
    ['--debug-port=1 --inspect-publish-uid=http --inspect-wait', ''],
    ['--cpu-prof', '--cpu-prof'],
  ];
  for (const [options, left] of rows) {
    it(`are ${left || 'none'} of ${options}`, () => {
      assert.equal(withoutDebugger(options.split(' ')).join(' '), left);
      assert.deepEqual(environmentWithoutDebugger({ A: '1', NODE_OPTIONS: options }), {
        A: '1',
        NODE_OPTIONS: left,
      });
    });
  }
});
