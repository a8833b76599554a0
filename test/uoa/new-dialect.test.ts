// A new dialect is one file in src/uoa and one row of its table: shown with a copy of src that has one more.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Option 0x88 with the client's port, over IPv4 only. */
const DIALECT = `// Dialect port.
import { ipv4Option, type UoaForms } from './form.ts';
const form = ipv4Option(4, (view, off, { cport }) => {
  view.setUint8(off, 0x88);
  view.setUint8(off + 1, 4);
  view.setUint16(off + 2, cport);
});
export const portOverIpv4: UoaForms = { 4: form, 6: form };
`;
const ROW = `  port: {
    about: 'option 136, which tells the port',
    check: 'its module for ports',
    option: undefined,
    forms: (over) => (over === 4 ? portOverIpv4 : undefined),
  },
} as const satisfies Record<string, Dialect>;`;

/** What each part makes of the dialect. */
const PROBE = `
import { parseConfig } from './src/config/load.ts';
import { renderConfigPage } from './src/config/describe.ts';
import { watchRefusals } from './src/admin/refusals.ts';
import { dialectRefusal, LAB_DIALECTS, uoaCarriage } from './src/lab/family.ts';
import { Datapath } from './src/datapath/datapath.ts';
import { allocateMemory } from './src/datapath/memory.ts';
import { SERVER_COUNTER, serverRow } from './src/datapath/server-cells.ts';
import { makePlan } from '${ROOT}test/datapath/rig.ts';
import { fromClient } from '${ROOT}test/datapath/roles.ts';
import { Frame, HEADROOM } from './src/wire/frame.ts';

const service = (ip, lip, uoa) => ({
  name: 'game', vip: '10.1.0.100', vport: 6000, lips: [lip], realServers: [{ ip, port: 6000 }], uoa,
});
const parse = (...services) => {
  try {
    return parseConfig(JSON.stringify({ services }), 'x').services[0].uoa.dialect;
  } catch (error) {
    return error.problems.map(({ path, message }) => path + ': ' + message);
  }
};
const plan = makePlan({ service: { dialect: 'port' } });
const memory = allocateMemory(plan);
let sent = '';
const datapath = new Datapath(plan, memory, (frame, off, len) => {
  sent = Buffer.from(frame.bytes.subarray(off + 20, off + 24)).toString('hex');
  return true;
});
const packet = fromClient();
const frame = new Frame(new Uint8Array(HEADROOM + packet.length));
frame.bytes.set(packet, HEADROOM);
datapath.receive(frame, HEADROOM, HEADROOM + packet.length, 0, 0);
const log = await new Promise((resolve) => {
  const sources = { services: () => plan.services, servers: memory.servers, refresh: () => {} };
  watchRefusals(sources, (_, message) => resolve(message));
  memory.servers[serverRow(0) + SERVER_COUNTER.refusals] = 1;
  setInterval(() => {}, 1000); // the watch does not hold the process open
});
console.log(JSON.stringify({
    accepted: parse(service('10.2.0.11', '10.2.0.200', { dialect: 'port' })),
    refused: parse(service('fd00::11', 'fd00::200', { dialect: 'port' })),
    fallback: parse(service('10.2.0.11', '10.2.0.200', { dialect: 'port', onUnsupported: 'port' })).length,
    page: renderConfigPage().includes('port: option 136, which tells the port.'),
    lab: LAB_DIALECTS,
    carriage: [uoaCarriage('port', { client: 4, server: 4 }, 1468), uoaCarriage('port', { client: 4, server: 4 }, 1469)],
    overIpv6: dialectRefusal('port', '6') !== undefined,
    sent,
    log: log.endsWith('check its module for ports'),
}));
process.exit();
`;

function copyWithDialect(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'uoa-new-dialect-'));
  t.after(() => rmSync(dir, { recursive: true }));
  cpSync(join(ROOT, 'src'), join(dir, 'src'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(dir, 'package.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'));
  const table = join(dir, 'src/uoa/dialect.ts');
  const text = readFileSync(table, 'utf8').replace('} as const satisfies Record<string, Dialect>;', ROW);
  writeFileSync(table, `import { portOverIpv4 } from './port.ts';\n${text}`);
  writeFileSync(join(dir, 'src/uoa/port.ts'), DIALECT);
  writeFileSync(join(dir, 'probe.ts'), PROBE);
  return dir;
}

test('a new dialect is one file and one row: config, docs, log, lab and datapath have it', (t) => {
  const cwd = copyWithDialect(t);
  const { stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', 'probe.ts'], {
    cwd,
    encoding: 'utf8',
  });
  assert.equal(stderr, '');
  assert.deepEqual(JSON.parse(stdout), {
    accepted: 'port',
    refused: [
      'services[0].uoa.dialect: "port" is not allowed for [fd00::11]:6000 (no receiver reads port over IPv6), expected opp, elb, unified, proxy-v2 or none, here or as their own dialect',
    ],
    fallback: 1,
    page: true,
    lab: ['ipo', 'opp', 'elb', 'unified', 'proxy-v2', 'port', 'none'],
    carriage: ['inserted', 'carrier'],
    overIpv6: true,
    sent: '88041388',
    log: true,
  });
});
