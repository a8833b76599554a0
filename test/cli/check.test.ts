import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { commandLines } from './command-lines.ts';
import { uoaProxy } from './program.ts';

const inOneProcess = commandLines();

describe('check', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'uoa-proxy-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  async function checkText(text: string) {
    const path = join(folder, 'config.yaml');
    writeFileSync(path, text);
    return { path, ...(await inOneProcess('check', '--config', path)) };
  }

  it('prints one line and exits with 0 for a config that can be used', () => {
    assert.deepEqual(uoaProxy('check', '--config', 'config/two-arm.yaml'), {
      code: 0,
      stdout: 'OK: 2 services, 1 VIP, 2 LIPs, 5 real servers\n',
      stderr: '',
    });
  });

  it('counts the addresses of both families', async () => {
    const { stdout } = await inOneProcess('check', '--config', 'config/dual-stack.yaml');
    assert.equal(stdout, 'OK: 1 service, 2 VIPs, 2 LIPs, 4 real servers\n');
  });

  it('says why a real server over IPv6 cannot have the default dialect', async () => {
    const { path, code, stderr } = await checkText(`services:
  - vip: fd00:1::100
    vport: 6000
    lips: ["fd00:2::200"]
    realServers: [{ ip: "fd00:2::11", port: 6000 }]
`);
    assert.equal(code, 1);
    assert.equal(
      stderr,
      `uoa-proxy: ${path} cannot be used:
  line 2: services[0].uoa.dialect: "ipo" is not allowed for [fd00:2::11]:6000 (no receiver reads ipo over IPv6), expected opp, elb, unified, proxy-v2 or none, here or as their own dialect (services[0].uoa.dialect is not set, that is its default)
`,
    );
  });

  it('prints every problem with its line and path and exits with 1', async () => {
    const { path, code, stdout, stderr } = await checkText(`io: { mode: fast }
services:
  - vip: 10.1.0.100
    vport: 70000
    lips: [fe80::1]
    real_servers: []
`);
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.deepEqual(
      uoaProxy('check', '--config', path),
      { code, stdout, stderr },
      'in a process of its own',
    );
    assert.equal(
      stderr,
      `uoa-proxy: ${path} cannot be used:
  line 1: io.mode: "fast" is not allowed, expected auto | ring | pcap
  line 3: services[0].realServers: is missing, expected a list of 1 to 4096 elements
  line 4: services[0].vport: 70000 is not allowed, expected integer 1..65535
  line 5: services[0].lips[0]: "fe80::1" is not allowed (a link-local address cannot be used, because it is not routed), expected unicast IPv4 or IPv6 address
  line 6: services[0].real_servers: unknown key "real_servers", did you mean realServers?
`,
    );
  });

  it('--json prints what it counted', async () => {
    const { code, stdout, stderr } = await inOneProcess(
      'check',
      '--json',
      '--config',
      'config/dual-stack.yaml',
    );
    assert.deepEqual([code, stderr], [0, '']);
    assert.deepEqual(JSON.parse(stdout), {
      ok: true,
      config: { services: 1, vips: 2, lips: 2, realServers: 4 },
      problems: [],
      warnings: [],
    });
  });

  it('--json prints every problem with its place and exits with 1', async () => {
    const path = join(folder, 'broken.yaml');
    writeFileSync(path, 'services:\n  - vip: 10.1.0.100\n    vport: 70000\n');
    const { code, stdout, stderr } = uoaProxy('check', '--json', '--config', path);
    assert.deepEqual([code, stderr], [1, '']);
    const { problems, ...rest } = JSON.parse(stdout) as { problems: object[] };
    assert.deepEqual(rest, { ok: false, config: null, warnings: [] });
    assert.deepEqual(problems.at(-1), {
      path: 'services[0].vport',
      message: '70000 is not allowed, expected integer 1..65535',
      line: 3,
      column: 5,
    });
    const missing = await inOneProcess('check', '--json', '--config', '/nonexistent/uoa.yaml');
    assert.deepEqual(JSON.parse(missing.stdout), {
      ok: false,
      config: null,
      problems: [{ path: '', message: 'no such file' }],
      warnings: [],
    });
  });

  it('prints warnings and still exits with 0', async () => {
    const { path, code, stdout, stderr } = await checkText(`services:
  - vip: 10.1.0.100
    vport: 6000
    lips: [10.2.0.200]
    realServers: [{ ip: 10.2.0.11, port: 6000, weight: 0 }]
`);
    assert.equal(code, 0);
    assert.match(stdout, /^OK: 1 service, 1 VIP, 1 LIP, 1 real server\n$/);
    assert.match(stderr, /^warning: services\[0\]\.realServers: every weight is 0/);
    const asJson = await inOneProcess('check', '--json', '--config', path);
    assert.deepEqual([asJson.code, asJson.stderr], [0, '']);
    const { ok, warnings } = JSON.parse(asJson.stdout) as { ok: boolean; warnings: { path: string }[] };
    assert.deepEqual([ok, warnings.map((warning) => warning.path)], [true, ['services[0].realServers']]);
  });
});
