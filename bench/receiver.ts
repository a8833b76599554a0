// What the receiver costs a UDP server: nanoseconds of a recvfrom and of a sendto, without it, with it and no
// client behind a proxy, and with clients that it names; and what a client takes in memory of the kernel.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createScratch, removeScratch } from '../src/lab/namespace.ts';
import { LEARNED_LEN, layoutOf, TUPLE_LEN, WAY_LEN } from '../src/receiver/layout.ts';
import { detach } from '../src/receiver/leftovers.ts';
import { ServedCgroup } from '../src/receiver/served-cgroup.ts';
import { createMap, insertInMap } from '../src/sys/libbpf.ts';
import { close } from '../src/sys/libc.ts';
import { count, formatTable } from './table.ts';

export interface ReceiverOptions {
  rounds: number;
}

interface LoopFigures {
  recvfrom: number;
  sendto: number;
  seen: number;
}

const BATCHES = 2000;
const CLIENTS = 1024;
const ENTRIES = 200_000;
const LIP = '127.0.0.2/32';
/** In which no LIP is. */
const NOBODY = '192.0.2.1/32';

/** Measures and prints. */
export async function measureReceiver({ rounds }: ReceiverOptions): Promise<void> {
  const scratch = createScratch();
  const cgroup = join(mountOfCgroups(), `uoa-bench-${process.pid}`);
  mkdirSync(cgroup);
  try {
    const loop = join(scratch, 'receiver-loop');
    const source = fileURLToPath(new URL('./receiver-loop.c', import.meta.url));
    execFileSync('gcc', ['-O2', '-Wall', '-o', loop, source]);
    const cases: [name: string, from: string | undefined][] = [
      ['without the receiver', undefined],
      ['with it, by no proxy', NOBODY],
      ['with it, clients named', LIP],
    ];
    const found = new Map<string, LoopFigures[]>(cases.map(([name]) => [name, []]));
    for (let round = 0; round < rounds; round++)
      for (const [name, from] of cases) found.get(name)!.push(await run(loop, cgroup, from));
    const rows = [...found].map(([name, figures]) => {
      const median = (key: keyof LoopFigures) =>
        figures.map((one) => one[key]).sort((a, b) => a - b)[figures.length >> 1]!;
      return [name, String(median('recvfrom')), String(median('sendto')), count(median('seen'))];
    });
    console.log(
      `\nreceiver: nanoseconds per call, sendto with delivery over lo; ${count(CLIENTS)} clients, 64 B; median of rounds`,
    );
    console.log(formatTable(['server', 'recvfrom', 'sendto', 'seen'], rows).join('\n'));
    console.log(`kernel memory per client: ${memoryPerClient()} B, of ${count(ENTRIES)}`);
  } finally {
    await removeCgroup(cgroup);
    removeScratch(scratch);
  }
}

async function run(loop: string, cgroup: string, from: string | undefined): Promise<LoopFigures> {
  const served =
    from === undefined
      ? undefined
      : ServedCgroup.open({ path: cgroup, maxClients: 65_536, from: [from], version: 'bench' });
  try {
    served?.look();
    const script = 'ulimit -n 20000 && ip link set lo up && exec "$@"';
    const argv = ['--net', 'sh', '-c', script, 'sh', loop, cgroup, String(BATCHES), String(CLIENTS)];
    return JSON.parse(execFileSync('unshare', argv, { encoding: 'utf8' })) as LoopFigures;
  } finally {
    served?.close();
    if (served !== undefined) await detach(cgroup);
  }
}

function memoryPerClient(): number {
  const { by_lip, by_client } = layoutOf(ENTRIES);
  const maps = [
    { fd: createMap(by_lip.type, 'by_lip', by_lip), valueLen: LEARNED_LEN },
    { fd: createMap(by_client.type, 'by_client', by_client), valueLen: WAY_LEN },
  ];
  try {
    const before = slabKib();
    const key = Buffer.from(new ArrayBuffer(TUPLE_LEN));
    for (const { fd, valueLen } of maps) {
      const value = Buffer.from(new ArrayBuffer(valueLen));
      for (let index = 0; index < ENTRIES; index++) {
        key.writeUInt32LE(index, 12);
        insertInMap(fd, key, value);
      }
    }
    return Math.round(((slabKib() - before) * 1024) / ENTRIES);
  } finally {
    for (const { fd } of maps) close(fd);
  }
}

const slabKib = (): number => Number(/^Slab:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);

function mountOfCgroups(): string {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((mount) => / - cgroup2 /.test(mount));
  if (line === undefined) throw new Error('cgroups of version 2 are mounted nowhere');
  return line.split(' ')[4]!;
}

/** What ran in it may be there a moment longer. */
async function removeCgroup(path: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++)
    try {
      rmdirSync(path);
      return;
    } catch {
      await sleep(50);
    }
}
