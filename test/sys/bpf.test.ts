// Loading BPF programs while signals come, as they do when children end.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import test from 'node:test';
import { loadProgram, PROGRAM_TYPE } from '../../src/sys/bpf.ts';
import { close } from '../../src/sys/libc.ts';

const SIGNALS = `import os, signal, sys, time
while True:
    os.kill(int(sys.argv[1]), signal.SIGUSR2)
    time.sleep(0.001)`;

/** So many times r0 = 0, and exit. */
function program(instructions: number): Uint8Array {
  const bytes = Buffer.from(new ArrayBuffer((instructions + 1) * 8));
  for (let n = 0; n < instructions; n++) bytes[n * 8] = 0xb7;
  bytes[instructions * 8] = 0x95;
  return bytes;
}

test('a signal does not keep a program from being loaded', async (t) => {
  let signals = 0;
  const count = () => void signals++;
  process.on('SIGUSR2', count);
  const child = spawn('python3', ['-c', SIGNALS, String(process.pid)], { stdio: 'ignore' });
  t.after(() => {
    child.kill('SIGKILL');
    process.off('SIGUSR2', count);
  });
  const bytes = program(2000);
  const deadline = performance.now() + 60_000;
  while (signals < 500 && performance.now() < deadline) {
    close(loadProgram(PROGRAM_TYPE.socketFilter, bytes));
    await new Promise(setImmediate);
  }
  assert.ok(signals >= 500, `${signals} signals came in a minute`);
});
