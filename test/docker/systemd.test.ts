// docker/systemd/uoa-proxy.service: what systemd says about it, and the proxy run by a real systemd with all
// of its restrictions, as process 1 of namespaces of its own.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createScratch } from '../../src/lab/namespace.ts';
import { Booted } from './booted.ts';
import { ROOT } from './dockerfile.ts';

const UNIT = join(ROOT, 'docker/systemd/uoa-proxy.service');
/** An instance per version. */
const TEMPLATE = join(ROOT, 'docker/systemd/uoa-proxy@.service');
const CONFIG = `
io: { wan: lo, lan: lo, assignAddresses: true, bufferSize: 1MiB, workers: 1 }
log: { format: json }
services:
  - { name: game, vip: 192.0.2.1, vport: 6000, lips: [127.0.0.2], realServers: [{ ip: 127.0.0.1, port: 6000 }] }
`;

/** CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF as /proc/PID/status shows them. */
const ALL_THREE = '0000008000003000';

describe('docker/systemd/uoa-proxy.service', () => {
  for (const unit of [UNIT, TEMPLATE]) {
    test(`systemd finds no mistake in ${basename(unit)}`, () => {
      const text = readFileSync(unit, 'utf8');
      // The paths of an installation need not exist here.
      const here = join(createScratch(), basename(unit).replace('@', '@0.1.0'));
      writeFileSync(
        here,
        text.replaceAll('/usr/bin/node', process.execPath).replace(/^Documentation=.*\n/m, ''),
      );
      const { stdout, stderr, error, status } = spawnSync('systemd-analyze', ['verify', '--man=no', here], {
        encoding: 'utf8',
      });
      if (error) throw new Error('this test needs the program systemd-analyze (Debian package systemd)');
      assert.deepEqual(
        { said: (stdout + stderr).split('\n').filter((line) => line.includes('uoa-proxy')), status },
        {
          said: [],
          status: 0,
        },
      );
    });

    test(`the exposure of ${basename(unit)} is at most 2.5 of 10`, () => {
      const limits = ['--offline=yes', '--threshold=25', unit];
      const { stdout, status } = spawnSync('systemd-analyze', ['security', ...limits], { encoding: 'utf8' });
      assert.equal(status, 0, stdout.slice(-200));
    });
  }

  test('the unit with instances is the other one but for what differs by version', () => {
    const lines = (unit: string) =>
      readFileSync(unit, 'utf8')
        .split('\n')
        .filter((line) => /^[A-Z]/.test(line));
    const known = new Set(lines(UNIT));
    assert.deepEqual(
      lines(TEMPLATE)
        .filter((line) => !known.has(line))
        .map((line) => line.split('=')[0]),
      ['Description', 'Documentation', 'ExecStartPre', 'ExecStart', 'ExecReload', 'RuntimeDirectoryPreserve'],
    );
  });

  describe('run by systemd', () => {
    let booted: Booted;
    const inside = (...argv: string[]) => booted.inside(...argv);
    const property = (name: string) => booted.property(name);
    const log = () => booted.log();
    const ruleset = () => booted.inNetwork('nft', 'list', 'ruleset');
    const isReady = () => booted.get('/readyz').status === 200;

    before(async () => {
      booted = await Booted.start({ config: CONFIG });
    });
    after(async () => await booted?.end());

    test('it forwards through ring as a user of its own, with the three capabilities, restricted, and its children likewise', () => {
      assert.match(log(), /"io":"ring"/);
      assert.match(booted.inNetwork('ip', 'address'), /192\.0\.2\.1/, 'it could be added');
      assert.match(ruleset(), /uoa_proxy_/, 'the child nft holds the guard');
      const control = inside('systemctl', 'show', '-P', 'ControlGroup', 'uoa-proxy.service');
      const pids = inside('cat', `/sys/fs/cgroup${control}/cgroup.procs`).split('\n');
      assert.equal(pids.length, 3, 'the proxy, its worker and nft');
      for (const pid of pids) {
        const status = inside('cat', `/proc/${pid}/status`);
        assert.doesNotMatch(status, /^Uid:\t0\b/m);
        for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
          assert.match(status, new RegExp(`^${set}:\t${ALL_THREE}$`, 'm'));
        }
        assert.match(status, /^NoNewPrivs:\t1$/m);
        assert.match(status, /^Seccomp:\t2$/m);
      }
    });

    test('bpf(2) is allowed, so that clients with sessions have rings of their own', () => {
      assert.doesNotMatch(log(), /a flood may cost clients with sessions packets/);
      const proxy = property('MainPID');
      const descriptors = inside('sh', '-c', `for each in /proc/${proxy}/fd/*; do readlink "$each"; done`);
      assert.match(descriptors, /^anon_inode:bpf-map$/m);
    });

    test('its metrics and sessions are answered, and its state folder can be written', () => {
      for (const path of ['/metrics', '/sessions', '/services', '/healthz'])
        assert.equal(booted.get(path).status, 200, path);
      const folder = inside('stat', '-L', '-c', '%a', '/var/lib/uoa-proxy');
      assert.equal(folder, '750');
    });

    test('a reload tells by its success whether the proxy took the config', () => {
      const reloadWith = (config: string) => {
        inside('sh', '-c', 'printf %s "$1" >/etc/uoa-proxy/proxy.yaml', 'sh', config);
        return booted.tries('systemctl', 'reload', 'uoa-proxy.service');
      };
      assert.ok(reloadWith(CONFIG.replace('name: game', 'name: game, scheduler: wlc')));
      assert.match(log(), /^(nothing changed since the reload at .*:\n {2})?service game: .*scheduler/m);
      assert.ok(!reloadWith(CONFIG.replace('workers: 1', 'workers: 2')));
      assert.match(log(), /io\.workers.* restart/);
      assert.ok(!reloadWith(CONFIG.replace('vport: 6000', 'vport: many')));
      assert.match(log(), /services\[0\]\.vport/);
      assert.ok(reloadWith(CONFIG));
      assert.equal(property('ActiveState'), 'active');
    });

    test('killed, it is started again and is ready again', async () => {
      inside('systemctl', 'kill', '--signal=KILL', '--kill-whom=main', 'uoa-proxy.service');
      await booted.until('restarted', () => property('NRestarts') === '1');
      await booted.until('ready again', isReady);
    });

    test('ended by a signal, it is started again too', async () => {
      inside('systemctl', 'kill', '--signal=TERM', '--kill-whom=main', 'uoa-proxy.service');
      await booted.until('restarted', () => property('NRestarts') === '2');
      await booted.until('ready again', isReady);
    });

    test('drained by ctl, which finds its socket, it ends with success and stays away', async () => {
      const ctl = ['node', '/opt/uoa-proxy/dist/main.js', 'ctl', 'drain'];
      assert.match(inside(...ctl), /drained, and the proxy has ended/);
      await booted.until('inactive', () => property('ActiveState') === 'inactive');
      assert.deepEqual(
        [property('Result'), property('ExecMainStatus'), property('NRestarts')],
        ['success', '10', '2'],
      );
      inside('systemctl', 'start', 'uoa-proxy.service');
      await booted.until('ready again', isReady);
    });

    test('stopped, it ends with success and leaves no guard', () => {
      inside('systemctl', 'stop', 'uoa-proxy.service');
      assert.equal(property('Result'), 'success');
      assert.equal(property('ActiveState'), 'inactive');
      assert.doesNotMatch(ruleset(), /uoa_proxy_/);
    });
  });
});
