// A real systemd that runs a unit of docker/systemd with all of its restrictions, as process 1 of namespaces
// of its own (systemd-boot.sh). It ends with this process, however that ends.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createScratch, removeScratch, run } from '../../src/lab/namespace.ts';
import { ROOT } from './dockerfile.ts';

const BOOT = fileURLToPath(new URL('./systemd-boot.sh', import.meta.url));
const WITHIN_MS = 120_000;

export interface BootOptions {
  config: string;
  /** A network namespace of `ip netns`; without it one of its own that has lo. */
  network?: string;
  unit?: string;
}

export class Booted {
  readonly #boot: ChildProcess;
  readonly #init: string;
  readonly #scratch: string;
  readonly #cgroup: string;

  private constructor(boot: ChildProcess, init: string, scratch: string, cgroup: string) {
    this.#boot = boot;
    this.#init = init;
    this.#scratch = scratch;
    this.#cgroup = cgroup;
  }

  /** Resolves when the proxy is ready. */
  static async start({ config, network, unit = 'uoa-proxy.service' }: BootOptions): Promise<Booted> {
    assert.ok(existsSync(join(ROOT, 'dist/main.js')), 'build it first: npm run build');
    const scratch = createScratch();
    const [configPath, base] = [join(scratch, 'proxy.yaml'), join(scratch, 'base')];
    writeFileSync(configPath, config);
    mkdirSync(base);
    const cgroup = `uoa-${process.pid}`;
    // systemd ends when this process does, however it ends: `read` then gets the end of its input. A signal
    // to the whole group does not end the keeper before.
    const kinds = ['mount', 'pid', 'uts', 'ipc', ...(network === undefined ? ['net'] : [])];
    const inNetwork = network === undefined ? [] : ['nsenter', `--net=/run/netns/${network}`];
    const flags = [...kinds.map((kind) => `--${kind}`), '--fork', '--kill-child', '--propagation', 'private'];
    const keeper =
      'trap "" INT TERM HUP; exec 3<&0; "$@" </dev/null 3<&- & read -r _ <&3; kill -KILL $!; wait';
    const boot = [BOOT, ROOT, configPath, base, cgroup, process.execPath, unit];
    const argv = ['-c', keeper, 'sh', ...inNetwork, 'unshare', ...flags, ...boot];
    const child = spawn('sh', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout! });
    const ended = once(child, 'exit').then(() => ['']);
    const [init] = (await Promise.race([once(lines, 'line'), ended])) as [string];
    const booted = new Booted(child, init, scratch, cgroup);
    try {
      assert.match(init, /^\d+$/, 'the namespaces were made');
      await booted.until('active', () => booted.tries('systemctl', 'is-active', unit));
      await booted.untilReady();
    } catch (error) {
      await booted.end();
      throw error;
    }
    return booted;
  }

  #within(argv: readonly string[]): string[] {
    return ['nsenter', '-t', this.#init, '-a', '-r', ...argv];
  }

  /** Runs a command there and returns what it prints. Throws a CommandError. */
  inside(...argv: string[]): string {
    return run(this.#within(argv)).trim();
  }

  /** Whether a command there ends with success. */
  tries(...argv: string[]): boolean {
    const [command, ...rest] = this.#within(argv);
    return spawnSync(command, rest).status === 0;
  }

  /** In its network only. */
  inNetwork(...argv: string[]): string {
    return run(['nsenter', '-t', this.#init, '--net', ...argv]).trim();
  }

  property(name: string, unit = 'uoa-proxy.service'): string {
    return this.inside('systemctl', 'show', '-P', name, unit);
  }

  /** What the units printed. */
  log(unit = 'uoa-proxy*'): string {
    return this.inside('journalctl', '--no-pager', '--output=cat', `--unit=${unit}`);
  }

  /** Asks the admin server. Status 0: no answer. */
  get(path: string): { status: number; body: string } {
    const script = `fetch('http://127.0.0.1:9464${path}').then(
      async (answer) => console.log(JSON.stringify({ status: answer.status, body: await answer.text() })),
      () => console.log('{"status":0,"body":""}'))`;
    return JSON.parse(this.inNetwork(process.execPath, '-e', script));
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    for (const end = performance.now() + WITHIN_MS; !holds(); await sleep(100)) {
      if (performance.now() > end) assert.fail(`not ${what} after ${WITHIN_MS} ms:\n${this.log()}`);
    }
  }

  async untilReady(): Promise<void> {
    await this.until('ready', () => this.get('/readyz').status === 200);
  }

  async end(): Promise<void> {
    const hasInit = /^\d+$/.test(this.#init);
    if (hasInit) this.tries('systemctl', 'stop', 'uoa-proxy*');
    this.#boot.stdin?.end();
    if (this.#boot.exitCode === null) await once(this.#boot, 'exit');
    while (hasInit && existsSync(`/proc/${this.#init}`)) await sleep(20);
    const script =
      'mount -t cgroup2 cgroup2 "$1"; cd "$1"; [ ! -e "$2" ] || find "$2" -depth -type d -exec rmdir {} +';
    const own = ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', script, 'sh'];
    run([...own, this.#scratch, this.#cgroup]);
    removeScratch(this.#scratch);
  }
}
