// Shows the first packets of two sessions, one step per line, as tcpdump saw them on both sides of the proxy: one with
// room for the UOA in the client's datagram, one whose first datagram fills the MTU so that a carrier goes ahead.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Capture, startCapture } from './capture.ts';
import type { ClientEvent, ClientTotals } from './events.ts';
import { listen } from './events.ts';
import { readDatagram, SessionStory } from './packet-printer.ts';
import { endProgram, startClient } from './programs.ts';
import { heading, paint, say } from './screen.ts';
import { type Topology, VIP } from './topology.ts';

const SCENES = [
  { title: 'A session begins: the UOA rides in the datagram', sizes: [64, 0, 512] },
  { title: 'A session begins with full-MTU datagrams: no room, a carrier goes ahead', sizes: [1472, 7] },
];
const QUIET_MS = 300;
const FILTER = 'udp or ip proto 248';

/** Runs the scenes; returns what their clients counted. Shows nothing when there is no tcpdump. */
export async function demonstrate(topology: Topology, vport: number): Promise<ClientTotals[]> {
  const captures: Capture[] = [];
  for (const device of new Set([topology.wan, topology.lan])) {
    const capture = await startCapture(topology, 'lb', device, FILTER);
    if (capture === undefined) {
      say(paint('yellow', '\ntcpdump is not installed: the packets cannot be shown'));
      return [];
    }
    captures.push(capture);
  }
  const totals: ClientTotals[] = [];
  for (const { title, sizes } of SCENES) {
    const result = await playScene(topology, vport, sizes);
    totals.push(result.totals);
    await untilQuiet(captures);
    heading(title);
    tellStory(topology, captures, result.client);
  }
  await Promise.all(captures.map((capture) => capture.stop()));
  return totals;
}

async function playScene(topology: Topology, vport: number, sizes: number[]) {
  const child = startClient(topology, {
    addresses: [topology.clientIps[0]!],
    socketsPerAddress: 1,
    vip: VIP,
    vports: [vport],
    sizes,
    rounds: sizes.length,
    pauseMs: 20,
    timeoutMs: 2000,
  });
  let client = '';
  let totals: ClientTotals | undefined;
  const ended = new Promise((resolve) => child.once('close', resolve));
  listen<ClientEvent>(child, (event) => {
    if (event.event === 'ready') client = event.clients[0]!;
    else totals = event.totals;
  });
  await ended;
  await endProgram(child);
  if (totals === undefined) throw new Error('the client program ended without a result');
  return { client, totals };
}

/** Prints and forgets what was captured so far. */
function tellStory(topology: Topology, captures: readonly Capture[], client: string): void {
  const story = new SessionStory(topology.wan, client, topology.serverIps);
  const packets = captures.flatMap((capture) => capture.packets.splice(0));
  for (const captured of packets.sort((a, b) => a.timeUs - b.timeUs)) {
    const seen = readDatagram(captured);
    if (seen === undefined) continue;
    for (const line of story.tell(seen)) say(line);
  }
}

async function untilQuiet(captures: readonly Capture[]): Promise<void> {
  const count = () => captures.reduce((sum, capture) => sum + capture.packets.length, 0);
  for (let before = -1; before !== count(); ) {
    before = count();
    await sleep(QUIET_MS);
  }
}
