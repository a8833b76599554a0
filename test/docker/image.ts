// Carries out docker/Dockerfile without Docker: each stage is a copy-on-write view of this machine in place
// of the base image, and RUN, COPY, ENV and WORKDIR do there what they do in a build. Only apt-get is left
// out: the packages that it would install are those of this machine. Containers are processes in such a view
// with the user and the capabilities that a runtime would give them. All mounts live in a mount namespace of
// their own and vanish with its process.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createScratch, removeScratch, run } from '../../src/lab/namespace.ts';
import { execForm, type Instruction, isInContext, ROOT, readDockerfile, type Stage } from './dockerfile.ts';

const BOUNDING = 'chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,setfcap';

export interface ContainerOptions {
  /** As the runtime's: the image's own user when not given. */
  user?: string;
  /** Capabilities added to none, in the names of setpriv: net_admin. */
  capabilities?: readonly string[];
  noNewPrivileges?: boolean;
  /** A network namespace of `ip netns`. */
  network?: string;
  /** A folder of makePins, mounted as the DaemonSet mounts the node's. */
  pins?: string;
  env?: Record<string, string>;
}

export class Image {
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly healthcheck: readonly string[];
  readonly workdir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly #holder: ChildProcess;
  readonly #root: string;
  readonly #readOnly: string;
  readonly #scratch: string;

  constructor(holder: ChildProcess, scratch: string, { root, instructions, env, workdir }: BuiltStage) {
    const last = (keyword: string) => instructions.findLast((each) => each.keyword === keyword)!.text;
    this.user = last('USER');
    this.entrypoint = execForm(last('ENTRYPOINT'))!;
    this.command = execForm(last('CMD'))!;
    this.healthcheck = execForm(last('HEALTHCHECK'))!;
    this.workdir = workdir;
    this.env = env;
    this.#holder = holder;
    this.#root = root;
    this.#readOnly = `${root}-read-only`;
    const script = 'mkdir "$2"; mount --rbind "$1" "$2"; mount -o remount,ro,bind "$2"';
    inside(holder, ['sh', '-ec', script, 'sh', root, this.#readOnly]);
    this.#scratch = scratch;
  }

  /** The argv that runs `argv` in a container; the file system can only be read. */
  argv(argv: readonly string[], options: ContainerOptions = {}): string[] {
    const [uid, gid] = (options.user ?? this.user).split(':');
    const capabilities = (options.capabilities ?? []).map((name) => `,+${name}`).join('');
    const env = { ...this.env, ...options.env };
    // /sys shows the interfaces of the network namespace in which it was mounted; the same one is not mounted
    // on itself.
    const mount = options.network === undefined ? '' : 'mount -t sysfs -o ro sysfs "$1/sys"; ';
    const pins = options.pins === undefined ? '' : `mount --bind ${options.pins} "$1/bpf/uoa-proxy"; `;
    return [
      'nsenter',
      `--mount=/proc/${this.#holder.pid}/ns/mnt`,
      ...(options.network === undefined ? [] : [`--net=/run/netns/${options.network}`]),
      ...['unshare', '--mount', 'sh', '-ec', `${mount}${pins}shift; exec "$@"`, 'sh'],
      this.#readOnly,
      'chroot',
      this.#readOnly,
      'setpriv',
      `--reuid=${uid}`,
      `--regid=${gid}`,
      '--clear-groups',
      `--bounding-set=-all${capabilities}`,
      '--inh-caps=-all',
      ...(options.noNewPrivileges ? ['--no-new-privs'] : []),
      'env',
      '-C',
      this.workdir,
      ...Object.entries(env).map(([key, value]) => `${key}=${value}`),
      ...argv,
    ];
  }

  /** Starts a container. */
  start(
    argv: readonly string[],
    options: ContainerOptions = {},
    spawnOptions: SpawnOptions = {},
  ): ChildProcess {
    const [command, ...rest] = this.argv(argv, options);
    return spawn(command, rest, spawnOptions);
  }

  /** Runs a container to its end. */
  async output(
    argv: readonly string[],
    options: ContainerOptions = {},
  ): Promise<{ code: number | null; text: string }> {
    const child = this.start(argv, options, { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        text += chunk;
      });
    }
    const [code] = await once(child, 'close');
    return { code, text };
  }

  /** Puts a file into the image, as a volume would. */
  mountFile(path: string, content: string): void {
    const target = join(this.#root, path);
    inside(this.#holder, ['mkdir', '-p', dirname(target)]);
    run(inNamespaceOf(this.#holder, ['sh', '-c', 'cat >"$1"', 'sh', target]), content);
  }

  /** The user's folder for the fast path, in a bpffs that only root can pass, as systemd mounts it. */
  makePins(): string {
    const bpffs = join(this.#scratch, 'bpffs');
    // A runtime makes the folder that something is to be mounted at.
    const script = `mkdir -p "$1" "$2/bpf/uoa-proxy"; mount -t bpf -o mode=0700 bpf "$1"
      install --directory --owner=10001 --group=10001 --mode=0750 "$1/uoa-proxy"`;
    inside(this.#holder, ['sh', '-ec', script, 'sh', bpffs, this.#root]);
    return join(bpffs, 'uoa-proxy');
  }

  /** What is in there. */
  pinned(pins: string): string[] {
    return inside(this.#holder, ['find', pins, '-mindepth', '1']).split('\n').filter(Boolean);
  }

  remove(): void {
    this.#holder.stdin?.end();
    this.#holder.kill('SIGKILL');
    removeScratch(this.#scratch);
  }
}

interface BuiltStage extends Stage {
  root: string;
  env: Record<string, string>;
  workdir: string;
}

/** Builds the image. Needs root. Throws what a build step says when it fails. */
export async function buildImage(): Promise<Image> {
  const scratch = createScratch();
  // It ends with its standard input, also when this process is killed.
  const holding = ['--mount', '--propagation', 'private', 'sh', '-c', 'echo ready; exec cat >/dev/null'];
  const holder = spawn('unshare', holding, { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    await Promise.race([once(holder.stdout, 'data'), once(holder, 'exit').then(failed)]);
    // Out of reach of the views' own /tmp, and where removing the scratch folder cannot follow.
    inside(holder, ['mount', '-t', 'tmpfs', '-o', 'mode=0755', 'image', scratch]);
    const built: BuiltStage[] = [];
    for (const stage of readDockerfile().stages) built.push(buildStage(holder, scratch, stage, built));
    return new Image(holder, scratch, built.at(-1)!);
  } catch (error) {
    holder.kill('SIGKILL');
    removeScratch(scratch);
    throw error;
  }
}

function failed(): never {
  throw new Error('this test needs root: unshare --mount failed');
}

function inNamespaceOf(holder: ChildProcess, argv: readonly string[]): string[] {
  return ['nsenter', `--mount=/proc/${holder.pid}/ns/mnt`, ...argv];
}

function inside(holder: ChildProcess, argv: readonly string[]): string {
  return run(inNamespaceOf(holder, argv));
}

/** A view of this machine's root that can be written to. */
function mountView(holder: ChildProcess, folder: string): string {
  const root = `${folder}/root`;
  const script = `
    mkdir -p "$1/upper" "$1/work" "$1/root"
    mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
    for each in proc dev sys; do mount --rbind "/$each" "$1/root/$each"; done
    mount -t tmpfs -o mode=1777 tmpfs "$1/root/run"
    # What the base image has in /usr/local may be in /usr here.
    if [ ! -e /usr/local/include/node ]; then mkdir -p "$1/root/usr/local/include"; ln -s "$2" "$1/root/usr/local/include/node"; fi`;
  const headers = join(dirname(process.execPath), '../include/node');
  inside(holder, ['sh', '-ec', script, 'sh', folder, headers]);
  return root;
}

function buildStage(
  holder: ChildProcess,
  scratch: string,
  stage: Stage,
  built: readonly BuiltStage[],
): BuiltStage {
  const root = mountView(holder, join(scratch, stage.name || 'final'));
  const result: BuiltStage = { ...stage, root, env: {}, workdir: '/' };
  // The package libpcap-dev is installed here; in the image only the library is.
  if (stage.name === '')
    inside(holder, ['sh', '-c', `rm ${root}/usr/lib/*/libpcap.so ${root}/usr/include/pcap/*`]);
  for (const instruction of stage.instructions) carryOut(holder, result, instruction, built);
  return result;
}

function carryOut(
  holder: ChildProcess,
  stage: BuiltStage,
  { keyword, flags, text }: Instruction,
  built: readonly BuiltStage[],
): void {
  if (keyword === 'ENV') {
    const [, name = '', value = ''] = /^(\w+)=(.*)$/.exec(text) ?? [];
    stage.env[name] = value;
  } else if (keyword === 'WORKDIR') {
    stage.workdir = text;
    inside(holder, ['mkdir', '-p', join(stage.root, text)]);
  } else if (keyword === 'COPY') {
    const [target = '', ...sources] = text.split(' ').reverse();
    const from = built.find(({ name }) => name === flags.from);
    if (flags.from !== undefined && from === undefined) throw new Error(`no stage ${flags.from}`);
    const to = join(stage.root, target.startsWith('/') ? '' : stage.workdir, target);
    for (const source of sources) copy(holder, from?.root, source, to);
    if (flags.chmod !== undefined) inside(holder, ['chmod', flags.chmod, to]);
  } else if (keyword === 'RUN') {
    const steps = text.split(' && ').filter((step) => !/^(apt-get |rm -rf \/var\/lib\/apt\/)/.test(step));
    const variables = Object.entries(stage.env).map(([name, value]) => `${name}=${value}`);
    const bounding = BOUNDING.split(',').map((name) => `,+${name}`);
    const script = `exec 1>&2; cd ${stage.workdir} && ${steps.join(' && ')}`;
    const limited = [
      'setpriv',
      `--bounding-set=-all${bounding.join('')}`,
      'env',
      ...variables,
      'sh',
      '-ec',
      script,
    ];
    if (steps.length > 0) inside(holder, ['chroot', stage.root, ...limited]);
  }
}

/** A folder's content goes into `to`, a file becomes `to` or goes into it. */
function copy(holder: ChildProcess, fromRoot: string | undefined, source: string, to: string): void {
  const from = fromRoot === undefined ? join(ROOT, source) : join(fromRoot, source);
  if (fromRoot === undefined && !isInContext(source))
    throw new Error(`${source} is not in the build context`);
  inside(holder, [
    'sh',
    '-ec',
    'if [ -d "$1" ]; then mkdir -p "$2"; cp -a "$1/." "$2"; else cp -a "$1" "$2"; fi',
    'sh',
    from,
    to,
  ]);
}
