// docker/systemd/uoa-proxy.service: what systemd says about it, and the proxy run by a real systemd with all
// of its restrictions, as process 1 of namespaces of its own.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createScratch, removeScratch, run } from '../../src/lab/namespace.ts';
import { ROOT } from './dockerfile.ts';

const UNIT = join(ROOT, 'docker/systemd/uoa-proxy.service');
/** An instance per version. */
const TEMPLATE = join(ROOT, 'docker/systemd/uoa-proxy@.service');
const BOOT = fileURLToPath(new URL('./systemd-boot.sh', import.meta.url));
const CONFIG = `
io: { wan: lo, lan: lo, assignAddresses: true, bufferSize: 1MiB, workers: 1 }
log: { format: json }
services:
  - { name: game, vip: 192.0.2.1, vport: 6000, lips: [127.0.0.2], realServers: [{ ip: 127.0.0.1, port: 6000 }] }
`;
const START_WITHIN_MS = 120_000;

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
    const scratch = createScratch();
    let boot: ChildProcess;
    const cgroup = `uoa-${process.pid}`;
    let init = '';
    const inside = (...argv: string[]) => run(['nsenter', '-t', init, '-a', '-r', ...argv]).trim();
    const property = (name: string) => inside('systemctl', 'show', '-P', name, 'uoa-proxy.service');
    const log = () => inside('journalctl', '--no-pager', '--output=cat', '--unit=uoa-proxy.service');
    const ruleset = () => run(['nsenter', '-t', init, '--net', 'nft', 'list', 'ruleset']);
    const fetched = (path: string) => {
      const script = `fetch('http://127.0.0.1:9464${path}').then((answer) => console.log(answer.status), () => console.log(0))`;
      return run(['nsenter', '-t', init, '--net', process.execPath, '-e', script]).trim();
    };
    const until = async (what: string, holds: () => boolean) => {
      for (const end = performance.now() + START_WITHIN_MS; !holds(); await sleep(100)) {
        if (performance.now() > end) assert.fail(`not ${what} after ${START_WITHIN_MS} ms:\n${log()}`);
      }
    };

    before(async () => {
      assert.ok(existsSync(join(ROOT, 'dist/main.js')), 'build it first: npm run build');
      const [config, base] = [join(scratch, 'proxy.yaml'), join(scratch, 'base')];
      writeFileSync(config, CONFIG);
      mkdirSync(base);
      // systemd ends when this process does, however it ends: `read` then gets the end of its input.
      const kinds = ['mount', 'pid', 'net', 'uts', 'ipc'].map((kind) => `--${kind}`);
      const unshare = ['unshare', ...kinds, '--fork', '--kill-child', '--propagation', 'private'];
      const keeper = 'exec 3<&0; "$@" </dev/null 3<&- & read -r _ <&3; kill -KILL $!; wait';
      const argv = ['-c', keeper, 'sh', ...unshare, BOOT, ROOT, config, base, cgroup, process.execPath];
      boot = spawn('sh', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
      const lines = createInterface({ input: boot.stdout! });
      [init] = (await Promise.race([once(lines, 'line'), once(boot, 'exit').then(() => [''])])) as [string];
      assert.match(init, /^\d+$/, 'the namespaces were made');
      const isUp = () =>
        spawnSync('nsenter', ['-t', init, '-a', '-r', 'systemctl', 'is-active', 'uoa-proxy']).status === 0;
      await until('active', isUp);
      await until('ready', () => fetched('/readyz') === '200');
    });
    after(async () => {
      if (init) spawnSync('nsenter', ['-t', init, '-a', '-r', 'systemctl', 'stop', 'uoa-proxy']);
      boot?.stdin?.end();
      if (boot && boot.exitCode === null) await once(boot, 'exit');
      while (init && existsSync(`/proc/${init}`)) await sleep(20);
      const script = 'mount -t cgroup2 cgroup2 "$1"; cd "$1"; find "$2" -depth -type d -exec rmdir {} +';
      run(['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', script, 'sh', scratch, cgroup]);
      removeScratch(scratch);
    });

    test('it forwards through ring as a user of its own, with the three capabilities, restricted, and its children likewise', () => {
      assert.match(log(), /"io":"ring"/);
      assert.match(
        run(['nsenter', '-t', init, '--net', 'ip', 'address']),
        /192\.0\.2\.1/,
        'it could be added',
      );
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
        assert.equal(fetched(path), '200', path);
      const folder = inside('stat', '-L', '-c', '%a', '/var/lib/uoa-proxy');
      assert.equal(folder, '750');
    });

    test('a reload tells by its success whether the proxy took the config', () => {
      const reloadWith = (config: string) => {
        const text = 'cat >/etc/uoa-proxy/proxy.yaml; systemctl reload uoa-proxy.service';
        const argv = ['-t', init, '-a', '-r', 'sh', '-c', text];
        return spawnSync('nsenter', argv, { input: config, encoding: 'utf8' }).status;
      };
      assert.equal(reloadWith(CONFIG.replace('name: game', 'name: game, scheduler: wlc')), 0);
      assert.match(log(), /^(nothing changed since the reload at .*:\n {2})?service game: .*scheduler/m);
      assert.notEqual(reloadWith(CONFIG.replace('workers: 1', 'workers: 2')), 0);
      assert.match(log(), /io\.workers.* restart/);
      assert.notEqual(reloadWith(CONFIG.replace('vport: 6000', 'vport: many')), 0);
      assert.match(log(), /services\[0\]\.vport/);
      assert.equal(reloadWith(CONFIG), 0);
      assert.equal(property('ActiveState'), 'active');
    });

    test('killed, it is started again and is ready again', async () => {
      inside('systemctl', 'kill', '--signal=KILL', '--kill-whom=main', 'uoa-proxy.service');
      await until('restarted', () => property('NRestarts') === '1');
      await until('ready again', () => fetched('/readyz') === '200');
    });

    test('ended by a signal, it is started again too', async () => {
      inside('systemctl', 'kill', '--signal=TERM', '--kill-whom=main', 'uoa-proxy.service');
      await until('restarted', () => property('NRestarts') === '2');
      await until('ready again', () => fetched('/readyz') === '200');
    });

    test('drained by ctl, which finds its socket, it ends with success and stays away', async () => {
      const ctl = ['node', '/opt/uoa-proxy/dist/main.js', 'ctl', 'drain'];
      assert.match(inside(...ctl), /drained, and the proxy has ended/);
      await until('inactive', () => property('ActiveState') === 'inactive');
      assert.deepEqual(
        [property('Result'), property('ExecMainStatus'), property('NRestarts')],
        ['success', '10', '2'],
      );
      inside('systemctl', 'start', 'uoa-proxy.service');
      await until('ready again', () => fetched('/readyz') === '200');
    });

    test('stopped, it ends with success and leaves no guard', () => {
      inside('systemctl', 'stop', 'uoa-proxy.service');
      assert.equal(property('Result'), 'success');
      assert.equal(property('ActiveState'), 'inactive');
      assert.doesNotMatch(ruleset(), /uoa_proxy_/);
    });
  });
});
