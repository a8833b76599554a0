// A program that is measured: bound to the forwarders' processor, watched, its last words kept for the error
// message.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Network } from '../network.ts';
import { forwarderCpu, onCpu } from '../processors.ts';

const READY_TIMEOUT_MS = 20_000;
const KEPT_OUTPUT = 20_000;

export interface Program {
  /** Resolves when the program has written `text`; throws when it ends before or is too slow. */
  until(text: string): Promise<void>;
  /** Throws when it has ended. */
  check(): void;
}

export function startProgram(network: Network, argv: readonly string[]): Program {
  const child = network.spawn([...onCpu(forwarderCpu()), ...argv]);
  let output = '';
  let end: string | undefined;
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-KEPT_OUTPUT);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  child.on('exit', (code, signal) => {
    end = signal ?? `exit code ${code}`;
  });
  const check = (): void => {
    if (end !== undefined) throw new Error(`${argv.join(' ')} ended (${end}):\n${output}`);
  };
  return {
    check,
    async until(text) {
      const deadline = Date.now() + READY_TIMEOUT_MS;
      while (!output.includes(text)) {
        check();
        if (Date.now() > deadline) throw new Error(`${argv.join(' ')} did not start in time:\n${output}`);
        await sleep(50);
      }
    },
  };
}
