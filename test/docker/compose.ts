// docker/compose.yaml without Docker: a bridge per network and a network namespace per service, with the
// addresses that the file gives; its programs run in the image (image.ts) with the users, capabilities and
// environment that it gives.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';
import { parse } from 'yaml';
import { createNamespace, inNamespace, removeNamespace, run } from '../../src/lab/namespace.ts';
import { filesBelow, ROOT } from './dockerfile.ts';
import type { Image } from './image.ts';

export interface ComposeService {
  image: string;
  build?: { context: string; dockerfile: string };
  user?: string;
  cap_drop?: string[];
  cap_add?: string[];
  privileged?: boolean;
  read_only?: boolean;
  stdin_open?: boolean;
  restart?: string;
  environment?: Record<string, string>;
  volumes?: string[];
  entrypoint?: string[];
  command?: string[];
  networks: Record<string, { ipv4_address: string }>;
  ports?: string[];
  depends_on?: string[] | Record<string, { condition: string }>;
}
export interface Compose {
  services: Record<string, ComposeService>;
  networks: Record<
    string,
    { ipam: { config: [{ subnet: string; gateway: string; aux_addresses?: Record<string, string> }] } }
  >;
  volumes: Record<string, null>;
}

export function readCompose(): Compose {
  return parse(readFileSync(join(ROOT, 'docker/compose.yaml'), 'utf8'), { merge: true }) as Compose;
}

/** Host path, path in the container, options; named volumes have no slash in the first. */
export function volumeOf(text: string): { from: string; to: string; isFile: boolean; readOnly: boolean } {
  const [from = '', to = '', mode = 'rw'] = text.split(':');
  return { from: posix.join('docker', from), to, isFile: from.startsWith('.'), readOnly: mode === 'ro' };
}

export class ComposeNetwork {
  /** Namespaces by service. */
  readonly #namespaces = new Map<string, string>();
  readonly #programs: ChildProcess[] = [];
  readonly #image: Image;
  readonly #compose = readCompose();

  /** Makes the networks; nothing runs yet. */
  constructor(image: Image) {
    this.#image = image;
    const hub = createNamespace('networks');
    this.#namespaces.set('', hub);
    for (const name of Object.keys(this.#compose.networks)) {
      run(['ip', '-n', hub, 'link', 'add', name, 'type', 'bridge', 'forward_delay', '0']);
      run(['ip', '-n', hub, 'link', 'set', name, 'up']);
    }
    const hosts = ['127.0.0.1 localhost'];
    for (const [index, [service, { networks }]] of Object.entries(this.#compose.services).entries()) {
      const own = createNamespace(`service${index}`);
      this.#namespaces.set(service, own);
      for (const [position, [network, { ipv4_address: ip }]] of Object.entries(networks).entries()) {
        // As Docker does, names say nothing about which network it is.
        const [port, device] = [`s${index}p${position}`, `eth${position}`];
        run(['ip', '-n', hub, 'link', 'add', port, 'type', 'veth', 'peer', 'name', device, 'netns', own]);
        run(['ip', '-n', hub, 'link', 'set', port, 'master', network, 'up']);
        run(['ip', '-n', own, 'address', 'add', `${ip}/24`, 'dev', device]);
        run(['ip', '-n', own, 'link', 'set', device, 'up']);
        hosts.push(`${ip} ${service}`);
      }
    }
    image.mountFile('/etc/hosts', `${hosts.join('\n')}\n`);
  }

  /** Starts a service; `command` instead of its own entrypoint and command. */
  start(name: string, command?: readonly string[]): ChildProcess {
    const service = this.#compose.services[name];
    for (const { from, to, isFile } of (service.volumes ?? []).map(volumeOf)) {
      if (isFile) this.#mount(from, to);
    }
    const own = [...(service.entrypoint ?? this.#image.entrypoint)];
    own.push(...(service.command ?? (service.entrypoint ? [] : this.#image.command)));
    const program = this.#image.start(command ?? own, this.#options(name), {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#programs.push(program);
    return program;
  }

  /** Runs the image's health check in a service's container. */
  async healthcheck(name: string): Promise<{ code: number | null; text: string }> {
    return await this.#image.output(this.#image.healthcheck, this.#options(name));
  }

  #mount(from: string, to: string): void {
    const isFolder = statSync(join(ROOT, from)).isDirectory();
    for (const path of isFolder ? filesBelow(from) : [from]) {
      this.#image.mountFile(join(to, posix.relative(from, path)), readFileSync(join(ROOT, path), 'utf8'));
    }
  }

  #options(name: string) {
    const { user, cap_add = [], environment = {} } = this.#compose.services[name];
    return {
      network: this.#namespaces.get(name)!,
      user: user === 'root' ? '0:0' : this.#image.user,
      capabilities: cap_add.map((capability) => capability.toLowerCase()),
      env: environment,
    };
  }

  /** What GET answers to the service `from`, for each address; '' where it fails. */
  get(from: string, urls: readonly string[]): string[] {
    const script = `const get = async (url) => {
        const answer = await fetch(url);
        return answer.ok ? await answer.text() : '';
      };
      Promise.all(${JSON.stringify(urls)}.map((url) => get(url).catch(() => '')))
        .then((texts) => process.stdout.write(JSON.stringify(texts)));`;
    return JSON.parse(run(inNamespace(this.#namespaces.get(from)!, [process.execPath, '-e', script])));
  }

  async remove(): Promise<void> {
    await Promise.all(
      this.#programs.map(async (program) => {
        if (program.exitCode !== null || program.signalCode !== null) return;
        program.kill('SIGTERM');
        await once(program, 'exit');
      }),
    );
    for (const namespace of this.#namespaces.values()) removeNamespace(namespace);
  }
}
