// A program for tests: attaches the fast path to interfaces of its namespace and makes sessions hot. Prints {
// attached } or { refused }, then answers each line of its input: "report" by { report }, "off" and "end" by
// { done }. When its input closes it takes the programs off again, unless they are to stay.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Activity } from '../../src/fast/activity.ts';
import {
  AttachError,
  type Attachment,
  attach,
  type FastPathKind,
  removeOtherLinks,
} from '../../src/fast/attachment.ts';
import { Hops } from '../../src/fast/hops.ts';
import { HotEntries } from '../../src/fast/hot-entries.ts';
import { HotRecords, INBOUND, OUTBOUND } from '../../src/fast/hot-records.ts';
import { macBytes, nowTick } from '../../src/fast/layout.ts';
import { openMaps } from '../../src/fast/maps.ts';
import { readPassed } from '../../src/fast/passed.ts';
import { PortRows } from '../../src/fast/port-rows.ts';
import { endsOf, type TestSession, wayOf } from './rig.ts';

export interface FastPathProgramOptions {
  kind: FastPathKind;
  withoutTcx?: boolean;
  filterHandle?: number;
  root?: string;
  /** Whether programs stay at work when the process ends. */
  stays?: boolean;
  /** How long they do so at most, ticks. */
  aliveTicks?: number;
  ports: { device: string; facesClients: boolean; facesRealServers: boolean }[];
  /** To real servers, to clients. */
  hops: { device: string; destination: string }[];
  /** None: those of the process before go on. */
  sessions: TestSession[];
}

const MTU = 1500;
const SESSIONS = 16;
const CONFIRM_NEVER = 1_000_000;

const options = JSON.parse(process.argv[2]) as FastPathProgramOptions;
const about = (device: string, what: string) =>
  readFileSync(`/sys/class/net/${device}/${what}`, 'utf8').trim();
const indexOf = (device: string) => Number(about(device, 'ifindex'));
const macOf = (device: string) => about(device, 'address');
const print = (value: unknown) => console.log(JSON.stringify(value));

const maps = openMaps({ sessions: SESSIONS, hops: 2, ports: 4 }, options.root);
const rows = new PortRows(maps.fds.control, 4);
const records = new HotRecords(maps.fds, maps.sizes);
const activity = new Activity(records);
const hops = new Hops(maps.fds.hops, 2);
const hot = new HotEntries(records, maps.fds);
const attachments: Attachment[] = [];

for (const [hop, { device, destination }] of options.hops.entries()) {
  hops.set(hop, wayOf(indexOf(device), MTU, destination, macOf(device)));
  hops.confirmAt(hop, nowTick() + CONFIRM_NEVER);
}
for (const [slot, { from }] of options.sessions.entries()) {
  activity.start(slot, nowTick());
  hot.put(slot, endsOf(from[INBOUND]), endsOf(from[OUTBOUND]), [0, 1], 0);
}

const removed = removeOtherLinks(maps, (kind, interfaceIndex) =>
  options.ports.some(({ device }) => kind === options.kind && indexOf(device) === interfaceIndex),
);
if (removed.length > 0) print({ removed });

try {
  for (const port of options.ports) {
    const interfaceIndex = indexOf(port.device);
    const known = rows.find(interfaceIndex);
    const row = known >= 0 ? known : rows.findFree();
    rows.set(row, { ...port, interfaceIndex, mac: macBytes(macOf(port.device)) });
    rows.switchOn(row, nowTick() + (options.aliveTicks ?? CONFIRM_NEVER));
    const { kind, withoutTcx = false, filterHandle = 1 } = options;
    attachments.push(attach(maps, { kind, interfaceIndex, row, withoutTcx, filterHandle }));
  }
  print({ attached: attachments.map(({ how, wasThere }) => ({ how, wasThere })) });
} catch (error) {
  if (!(error instanceof AttachError)) throw error;
  print({ refused: { why: error.why, message: error.message } });
}

const fold = (slot: number) =>
  ([INBOUND, OUTBOUND] as const).map((direction) =>
    activity.fold(slot, direction) ? [activity.packets, activity.bytes] : [0, 0],
  );

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line);
    if (command === 'report') {
      const passed = Object.entries(readPassed(maps.fds.passed)).filter(([, count]) => count > 0);
      print({ report: { passed: Object.fromEntries(passed), activity: [0, 1].map(fold) } });
      return;
    }
    if (command === 'off')
      for (const { interfaceIndex } of attachments) rows.switchOff(rows.find(interfaceIndex));
    if (command === 'end') for (let slot = 0; slot < SESSIONS; slot++) records.end(slot);
    print({ done: command });
  })
  .on('close', () => {
    for (const attachment of attachments) options.stays ? attachment.close() : attachment.detach();
    maps.close();
  });
