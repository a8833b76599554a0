// What comes in while a mode of packet I/O changes what it lets in, and after that was committed or undone:
// the same of all.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ModesSpec, Report } from './modes-program.ts';
import { sh, startProgram, threeInARow } from './namespaces.ts';

/** Datagrams to each port, each from a port of its own: some for each worker. */
const COUNT = 16;
const [OLD, NEW] = [6000, 7000];

const WITHOUT_BPF = ['setpriv', '--bounding-set=-bpf,-sys_admin', '--inh-caps=-bpf,-sys_admin'];

const ROWS: (ModesSpec & { under?: readonly string[] })[] = [
  { mode: 'ring', workers: 1, ports: [OLD] },
  { mode: 'ring', workers: 2, ports: [OLD] },
  { mode: 'ring', workers: 2, ports: [OLD], under: WITHOUT_BPF },
  { mode: 'pcap', workers: 1, ports: [OLD] },
];
for (const { under = [], ...spec } of ROWS) {
  const isFiltered = spec.mode === 'pcap' || under === WITHOUT_BPF;
  const name = `${spec.mode}${under === WITHOUT_BPF ? ' without CAP_BPF' : ''}`;
  test(`what ${name} lets in, of ${spec.workers}, follows a change, and stays when that is undone`, async (t) => {
    const { client, lb } = threeInARow(t);
    const program = startProgram(t, lb, 'io/modes-program.ts', spec, under);
    assert.equal(await program.next('ready'), spec.mode);
    const tell = async (command: readonly number[] | 'commit' | 'undo') => {
      program.write(command);
      await program.next('done');
    };
    const report = async (): Promise<Report> => {
      program.write('report');
      return program.next<Report>('report');
    };
    const came = async (port: number) =>
      (await report()).reduce((sum, ofWorker) => sum + (ofWorker[port] ?? 0), 0);
    /** Sends some to both ports, and waits for those that come. */
    const sendAndExpect = async (expected: Record<number, number>) => {
      // First those that are to be missing.
      const order = [OLD, NEW].sort((a, b) => expected[a] - expected[b]);
      const before = new Map<number, number>();
      for (const port of order) before.set(port, await came(port));
      for (const port of order)
        sh(
          `ip netns exec ${client} bash -c 'for i in {1..${COUNT}}; do echo > /dev/udp/10.1.0.1/${port}; done'`,
        );
      const arrived = async (port: number) => (await came(port)) - before.get(port)!;
      for (const port of order) while ((await arrived(port)) < expected[port]) await sleep(20);
      await sleep(100); // for what should not
      assert.deepEqual({ [OLD]: await arrived(OLD), [NEW]: await arrived(NEW) }, expected);
    };

    await sendAndExpect({ [OLD]: COUNT, [NEW]: 0 });
    await tell([NEW]);
    await tell('undo');
    await sendAndExpect({ [OLD]: COUNT, [NEW]: 0 });
    await tell([OLD, NEW]);
    await sendAndExpect({ [OLD]: COUNT, [NEW]: COUNT });
    await tell('commit');
    await sendAndExpect({ [OLD]: COUNT, [NEW]: COUNT });
    await tell([NEW]);
    // Where there may be several workers, those that take over the plan later still get what the old one
    // serves; one that is behind a filter takes over both at once.
    await sendAndExpect({ [OLD]: isFiltered ? 0 : COUNT, [NEW]: COUNT });
    await tell('commit');
    await sendAndExpect({ [OLD]: 0, [NEW]: COUNT });
    for (const ofWorker of await report()) assert.ok(ofWorker[NEW] > 0, 'each worker gets some');
    await program.stop();
  });
}
