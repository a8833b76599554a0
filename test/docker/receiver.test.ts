// docker/receiver: the unit and the manifests that bring the receiver to a real server. What systemd says of
// the unit; the configs, as the receiver reads them; and the command lines, with the rights that they have
// there: a server in their cgroup sees its client.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { loadReceiverConfig } from '../../src/config/receiver-schema.ts';
import { createScratch, removeScratch } from '../../src/lab/namespace.ts';
import { nodeArgv } from '../../src/lab/programs.ts';
import { MAIN, startRig } from '../e2e/harness.ts';
import { makeCgroup, ReceiverProcess, ReceiverRig, removeCgroup } from '../e2e/receiver-rig.ts';
import { mountBpffs } from '../sys/bpffs.ts';
import { ROOT } from './dockerfile.ts';

const FOLDER = join(ROOT, 'docker/receiver');
const UNIT = join(FOLDER, 'uoa-receiver.service');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
const read = (name: string): string => readFileSync(join(FOLDER, name), 'utf8');

interface Container {
  name: string;
  image: string;
  command?: string[];
  args?: string[];
  restartPolicy?: string;
  env?: { name: string; value?: string }[];
  securityContext: { capabilities: { drop: string[]; add?: string[] }; runAsUser: number; privileged?: true };
  ports: { name: string; containerPort: number }[];
  startupProbe: { httpGet: { path: string; port: string } };
  volumeMounts: { name: string; mountPath: string }[];
}
interface Manifest {
  kind: string;
  data?: Record<string, string>;
  spec?: {
    template: {
      spec: {
        initContainers?: Container[];
        containers: Container[];
        volumes: { name: string; hostPath?: { path: string } }[];
      };
    };
  };
}

const manifests = (name: string): Manifest[] =>
  parseAllDocuments(read(name)).map((document) => document.toJS() as Manifest);

function scratch(t: TestContext): string {
  const folder = createScratch();
  t.after(() => removeScratch(folder));
  return folder;
}

/** The pod of a manifest, and its receiver. */
function podOf(name: string) {
  const { spec } = manifests(name).find(({ kind }) => kind === 'Deployment' || kind === 'DaemonSet')!;
  const pod = spec!.template.spec;
  const all = [...(pod.initContainers ?? []), ...pod.containers];
  return { pod, receiver: all.find((container) => container.name === 'uoa-receiver')! };
}

test('the folder holds what this test knows', () => {
  assert.deepEqual(readdirSync(FOLDER).sort(), [
    'daemonset.yaml',
    'receiver.yaml',
    'sidecar.yaml',
    'uoa-receiver.service',
  ]);
});

test('systemd finds no mistake in the unit, and its exposure is at most 3 of 10', (t) => {
  const here = join(scratch(t), 'uoa-receiver.service');
  const text = readFileSync(UNIT, 'utf8');
  writeFileSync(here, text.replaceAll('/usr/bin/node', process.execPath).replace(/^Documentation=.*\n/m, ''));
  const verified = spawnSync('systemd-analyze', ['verify', '--man=no', here], { encoding: 'utf8' });
  if (verified.error) throw new Error('this test needs the program systemd-analyze (Debian package systemd)');
  const said = (verified.stdout + verified.stderr)
    .split('\n')
    .filter((line) => line.includes('uoa-receiver'));
  assert.deepEqual({ said, status: verified.status }, { said: [], status: 0 });
  const limits = ['--offline=yes', '--threshold=30', UNIT];
  const { stdout, status } = spawnSync('systemd-analyze', ['security', ...limits], { encoding: 'utf8' });
  assert.equal(status, 0, stdout.slice(-200));
});

test('the configs are taken', (t) => {
  const folder = scratch(t);
  const { data } = manifests('daemonset.yaml').find(({ kind }) => kind === 'ConfigMap')!;
  const texts = { 'receiver.yaml': read('receiver.yaml'), 'of-the-nodes.yaml': data!['receiver.yaml']! };
  for (const [name, text] of Object.entries(texts)) {
    const path = join(folder, name);
    writeFileSync(path, text);
    const { from, cgroups } = loadReceiverConfig(path);
    assert.deepEqual([from.length, cgroups.length], [2, 1], name);
  }
});

for (const name of ['sidecar.yaml', 'daemonset.yaml'])
  test(`${name}: the receiver has the three capabilities and no more, and is asked whether it is well`, () => {
    const { pod, receiver } = podOf(name);
    const { capabilities, privileged, runAsUser } = receiver.securityContext;
    assert.deepEqual(capabilities, { drop: ['ALL'], add: ['BPF', 'NET_ADMIN', 'NET_RAW'] });
    assert.deepEqual([privileged, runAsUser], [undefined, 0]);
    assert.equal(receiver.image, `uoa-proxy:${version}`);
    const { path, port } = receiver.startupProbe.httpGet;
    assert.equal(path, '/healthz');
    assert.equal(receiver.ports.find((one) => one.name === port)!.containerPort, 9465);
    for (const mount of receiver.volumeMounts) assert.ok(pod.volumes.some((one) => one.name === mount.name));
  });

test('the sidecar is at work before the server starts, and as long as it runs', () => {
  const { pod, receiver } = podOf('sidecar.yaml');
  assert.deepEqual(pod.initContainers, [receiver]);
  assert.equal(receiver.restartPolicy, 'Always');
});

test('what the nodes keep is at work for the next pod: pins are in a bpffs of the node', () => {
  const { pod, receiver } = podOf('daemonset.yaml');
  const { name } = receiver.volumeMounts.find(({ mountPath }) => mountPath === '/bpf')!;
  assert.equal(pod.volumes.find((one) => one.name === name)!.hostPath!.path, '/sys/fs/bpf');
  assert.deepEqual(receiver.args, ['receiver', '--config', '/etc/uoa-proxy/receiver.yaml']);
});

/** Root, with what is left to it by the unit and by the manifests. */
const CONFINED = [
  'setpriv',
  '--bounding-set=-all,+bpf,+net_admin,+net_raw',
  '--inh-caps=-all',
  '--no-new-privs',
];

/** Runs a command on the real servers' host, with the cgroups and a bpffs of this one. */
function start(receiving: ReceiverRig, argv: readonly string[], env: Record<string, string>): ChildProcess {
  const script =
    'mount --bind "$0" /sys/fs/bpf && net=/run/netns/$1 && shift && exec nsenter "--net=$net" "$@"';
  const network = receiving.rig.topology.namespaces.rs;
  const all = ['-m', 'bash', '-c', script, receiving.bpffs, network, ...CONFINED, ...argv];
  return spawn('unshare', all, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    detached: true,
  });
}

async function assertServed(t: TestContext, receiving: ReceiverRig, child: ChildProcess, cgroup: string) {
  t.after(() => child.kill('SIGKILL'));
  const receiver = new ReceiverProcess(child);
  await receiver.ready();
  const [server] = receiving.rig.realServers;
  const program = await receiving.startPython('plain_server.py', server!, cgroup);
  const clients = await receiving.rig.clients({ portsPerAddress: 5, count: 50, sizes: [64, 1472] });
  const { received, attributed, wrong, empty } = await program.end();
  assert.deepEqual({ received, wrong, empty }, { received: clients.sent, wrong: 0, empty: 0 });
  assert.equal(attributed, clients.named);
  assert.equal(await receiver.end(), 0);
}

/** `below`: further cgroups within that of the rig, each within the one before. */
async function receivingRig(t: TestContext, below: readonly string[] = []): Promise<ReceiverRig> {
  const rig = await startRig(t, { servers: 1, clients: 2, uoa: { dialect: 'ipo' } });
  const inner: string[] = [];
  // Before the outer one goes, and when the programs of the rig are gone.
  t.after(async () => {
    for (const path of inner.reverse()) await removeCgroup(path);
  });
  const cgroup = makeCgroup(t);
  for (const name of below) {
    const path = join(inner.at(-1) ?? cgroup, name);
    mkdirSync(path);
    inner.push(path);
  }
  return new ReceiverRig(rig, cgroup, mountBpffs(t));
}

test("run as the unit runs it, a server in the service's cgroup sees its clients", async (t) => {
  const receiving = await receivingRig(t);
  const config = parse(read('receiver.yaml')) as { cgroups: string[] };
  const path = join(receiving.rig.topology.scratch, 'receiver.yaml');
  writeFileSync(
    path,
    JSON.stringify({ ...config, cgroups: [receiving.cgroup], admin: { listen: '127.0.0.1:0' } }),
  );
  const [command = '', ...rest] = /^ExecStart=(.*)$/m.exec(readFileSync(UNIT, 'utf8'))![1]!.split(' ');
  assert.equal(command, '/usr/bin/node');
  const [main, ...args] = rest.map((word) => (word.endsWith('.yaml') ? path : word));
  assert.equal(main, '/opt/uoa-proxy/dist/main.js');
  await assertServed(t, receiving, start(receiving, nodeArgv(MAIN, ...args), {}), receiving.cgroup);
});

test('run as the sidecar runs it, it finds the cgroup of its pod, and a server in another container sees its clients', async (t) => {
  const uid = '0f3a1c2d-1111-2222-3333-444455556666';
  const pod = `kubepods-burstable-pod${uid.replaceAll('-', '_')}.slice`;
  const scope = 'cri-containerd-1.scope';
  const receiving = await receivingRig(t, [pod, scope]);
  const { receiver } = podOf('sidecar.yaml');
  const [shell = '', flags = '', script = ''] = receiver.command!;
  const here = script
    .replaceAll('/host/cgroup', receiving.cgroup)
    .replace('node /opt/uoa-proxy/dist/main.js', nodeArgv(MAIN).join(' '));
  const lips = receiver.env!.find(({ name }) => name === 'LIPS')!.value!;
  const child = start(receiving, [shell, flags, here], { POD_UID: uid, LIPS: lips });
  await assertServed(t, receiving, child, join(receiving.cgroup, pod, scope));
  const nobody = spawnSync(shell, [flags, here], {
    encoding: 'utf8',
    env: { ...process.env, POD_UID: 'none' },
  });
  assert.deepEqual([nobody.status, nobody.stderr], [1, `no cgroup of pod none in ${receiving.cgroup}\n`]);
});
