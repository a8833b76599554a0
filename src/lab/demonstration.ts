// Shows the first packets of two sessions, one step per line, as tcpdump saw them on both sides of the proxy:
// one with room for the UOA in the client's datagram, one whose first datagram fills the MTU so that a
// carrier goes ahead.
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import { formatEndpoint } from '../wire/address.ts';
import { type Capture, startCapture } from './capture.ts';
import type { ClientEvent, ClientTotals } from './events.ts';
import { listen } from './events.ts';
import { type FamilyPair, fullPayloadLen, type LabDialect, uoaCarriage } from './family.ts';
import { TIMEOUT_MS } from './load.ts';
import { readDatagram, SessionStory } from './packet-printer.ts';
import { endProgram, startClient } from './programs.ts';
import { heading, paint, say } from './screen.ts';
import { type Topology, VIPS } from './topology.ts';

const QUIET_MS = 600;
const FILTER = 'udp or ip proto 248 or (ip6 and (ip6[6] = 60 or ip6[6] = 248))';

export interface Stage {
  topology: Topology;
  pair: FamilyPair;
  dialect: LabDialect;
  vport: number;
}

/** Runs the scenes; returns what their clients counted. Shows nothing when there is no tcpdump. */
export async function demonstrate(stage: Stage): Promise<ClientTotals[]> {
  const { topology, pair, dialect } = stage;
  const captures: Capture[] = [];
  for (const device of new Set([topology.wan, topology.lan])) {
    const capture = await startCapture(topology, 'lb', device, FILTER);
    if (capture === undefined) {
      say(paint('yellow', '\ntcpdump is not installed: the packets cannot be shown'));
      return [];
    }
    captures.push(capture);
  }
  const full = fullPayloadLen(pair, dialect);
  const carriage = (payloadLen: number) =>
    ({
      none: 'no UOA',
      inserted: 'the UOA rides in the datagram',
      carrier: 'a carrier with the UOA goes ahead',
      header: 'a header goes before each payload',
    })[uoaCarriage(dialect, pair, payloadLen)];
  const scenes = [
    { title: `A session begins: ${carriage(64)}`, sizes: [64, 0, 512] },
    { title: `A session begins with a datagram that fills the MTU: ${carriage(full)}`, sizes: [full, 7] },
  ];
  const totals: ClientTotals[] = [];
  for (const { title, sizes } of scenes) {
    const result = await playScene(stage, sizes);
    totals.push(result.totals);
    await untilQuiet(captures);
    heading(title);
    tellStory(stage, captures, result.client);
  }
  await Promise.all(captures.map((capture) => capture.stop()));
  return totals;
}

async function playScene({ topology, pair, vport }: Stage, sizes: number[]) {
  const child = startClient(topology, {
    addresses: [topology.clientIps[pair.client][0]],
    socketsPerAddress: 1,
    vip: VIPS[pair.client],
    vports: [vport],
    sizes,
    rounds: sizes.length,
    pauseMs: 20,
    timeoutMs: TIMEOUT_MS,
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
function tellStory({ topology, pair, vport }: Stage, captures: readonly Capture[], client: string): void {
  const story = new SessionStory({
    wan: topology.wan,
    client,
    virtual: formatEndpoint(VIPS[pair.client], vport),
    serverIps: topology.serverIps[pair.server],
  });
  const packets = captures.flatMap((capture) => capture.packets.splice(0));
  const seen = packets.sort((a, b) => a.timeUs - b.timeUs).map(readDatagram);
  for (const line of story.tell(seen.filter((datagram) => datagram !== undefined))) say(line);
}

async function untilQuiet(captures: readonly Capture[]): Promise<void> {
  const count = () => captures.reduce((sum, capture) => sum + capture.packets.length, 0);
  for (let before = -1; before !== count(); ) {
    before = count();
    await sleep(QUIET_MS);
    await immediate(); // timers come before pipes, and what tcpdump said may wait there
  }
}
