// docker/kubernetes: what the manifests must hold together and what the proxy needs of them, and the configs
// in their ConfigMaps, as the proxy would get them. What Kubernetes itself would refuse is in
// kubernetes-api.test.ts.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { createScratch, removeScratch } from '../../src/lab/namespace.ts';
import { uoaProxy } from '../cli/program.ts';
import { ROOT } from './dockerfile.ts';

interface Probe {
  httpGet: { path: string; port: string };
}
interface Container {
  name: string;
  image: string;
  restartPolicy?: string;
  command?: string[];
  args?: string[];
  env?: { name: string; valueFrom: { fieldRef: { fieldPath: string } } }[];
  ports?: { name: string; containerPort: number; protocol?: string }[];
  securityContext: {
    runAsNonRoot?: boolean;
    runAsUser: number;
    runAsGroup?: number;
    readOnlyRootFilesystem: boolean;
    allowPrivilegeEscalation: boolean;
    privileged?: boolean;
    capabilities: { drop: string[]; add?: string[] };
  };
  startupProbe?: Probe;
  readinessProbe?: Probe;
  livenessProbe?: Probe;
  lifecycle?: { preStop: { exec: { command: string[] } } };
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[];
}
interface PodSpec {
  hostNetwork?: boolean;
  terminationGracePeriodSeconds: number;
  initContainers?: Container[];
  containers: Container[];
  volumes: {
    name: string;
    configMap?: { name: string };
    hostPath?: { path: string; type: string };
  }[];
}
interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  data?: Record<string, string>;
  spec?: {
    selector?: {
      matchLabels?: Record<string, string>;
      matchExpressions?: { key: string; values: string[] }[];
    };
    template?: { metadata: { labels: Record<string, string> }; spec: PodSpec };
    podMetricsEndpoints?: { port: string; relabelings: { targetLabel: string; replacement?: string }[] }[];
    updateStrategy?: { rollingUpdate: { maxSurge: number } };
    externalTrafficPolicy?: string;
    ports?: { targetPort: number; protocol: string }[];
  };
}

function manifests(name: string): Manifest[] {
  return parseAllDocuments(readFileSync(join(ROOT, 'docker/kubernetes', name), 'utf8')).map((document) => {
    assert.deepEqual(document.errors, [], name);
    return document.toJS() as Manifest;
  });
}

function one(all: readonly Manifest[], kind: string): Manifest {
  const found = all.filter((manifest) => manifest.kind === kind);
  assert.equal(found.length, 1, kind);
  return found[0];
}

const scratch = createScratch();
after(() => removeScratch(scratch));
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
const FILES = readdirSync(join(ROOT, 'docker/kubernetes')).sort();
const WORKLOADS = [
  { file: 'sidecar.yaml', kind: 'Deployment' },
  { file: 'daemonset.yaml', kind: 'DaemonSet' },
] as const;

test('the folder holds the manifests that this test knows', () => {
  assert.deepEqual(FILES, ['daemonset.yaml', 'monitoring.yaml', 'sidecar.yaml']);
  for (const { apiVersion, kind, metadata } of FILES.flatMap(manifests)) {
    assert.ok(apiVersion && kind && /^[a-z0-9-]+$/.test(metadata.name));
  }
});

for (const { file, kind } of WORKLOADS) {
  describe(`docker/kubernetes/${file}`, () => {
    const all = manifests(file);
    const { spec } = one(all, kind);
    const { metadata: podMetadata, spec: pod } = spec!.template!;
    const containers = [...(pod.initContainers ?? []), ...pod.containers];
    const proxy = containers.find(({ name }) => name === 'uoa-proxy')!;

    test('the selector names labels of the pod', () => {
      for (const [key, value] of Object.entries(spec!.selector!.matchLabels!)) {
        assert.equal(podMetadata.labels[key], value);
      }
    });

    test('the proxy has the three capabilities, for the user whom the image lets pass them on, and no more', () => {
      const { securityContext: context } = proxy;
      assert.deepEqual(context.capabilities, { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW', 'BPF'] });
      assert.equal(
        context.allowPrivilegeEscalation,
        true,
        "the kernel ignores the image's file capabilities without",
      );
      assert.deepEqual([context.runAsUser, context.runAsGroup, context.runAsNonRoot], [10001, 10001, true]);
      for (const { name, securityContext } of containers) {
        assert.equal(securityContext.privileged, undefined, name);
        assert.equal(securityContext.readOnlyRootFilesystem, true, name);
        assert.deepEqual(securityContext.capabilities.drop, ['ALL'], name);
      }
    });

    test('every image is the one of this version', () => {
      for (const { name, image } of containers) assert.equal(image, `uoa-proxy:${version}`, name);
    });

    test('it lives while /healthz answers and gets clients while /readyz does', () => {
      const { startupProbe, readinessProbe, livenessProbe, ports } = proxy;
      assert.equal(livenessProbe!.httpGet.path, '/healthz');
      assert.equal(readinessProbe!.httpGet.path, '/readyz');
      assert.equal(startupProbe!.httpGet.path, '/readyz');
      for (const probe of [startupProbe, readinessProbe, livenessProbe]) {
        const port = ports!.find(({ name }) => name === probe!.httpGet.port);
        assert.equal(port!.containerPort, 9464);
      }
    });

    test('no container is killed while its preStop runs', () => {
      for (const { lifecycle } of containers) {
        const command = lifecycle?.preStop.exec.command.join(' ') ?? 'sleep 0';
        const [, seconds] = /^(?:sh -c )?sleep (\d+)(?:; kill -USR2 1)?$/.exec(command) ?? [];
        assert.ok(Number(seconds) + 30 < pod.terminationGracePeriodSeconds, command);
      }
    });

    test('every volume and ConfigMap that is mounted exists', () => {
      for (const { volumeMounts = [] } of containers) {
        for (const { name } of volumeMounts)
          assert.ok(
            pod.volumes.some((volume) => volume.name === name),
            name,
          );
      }
      for (const { configMap } of pod.volumes.filter((volume) => volume.configMap)) {
        assert.equal(one(all, 'ConfigMap').metadata.name, configMap!.name);
      }
    });
  });
}

describe('the configs in the ConfigMaps', () => {
  const check = (name: string, text: string) => {
    const path = join(scratch, name);
    writeFileSync(path, text);
    const { code, stderr } = uoaProxy('check', '--config', path);
    assert.equal(code, 0, stderr);
  };

  test("the sidecar's has no problem once its init container has put the pod's address in", () => {
    const all = manifests('sidecar.yaml');
    const { 'proxy.yaml': template } = one(all, 'ConfigMap').data as { 'proxy.yaml': string };
    const { spec: pod } = one(all, 'Deployment').spec!.template!;
    const [shell = '', flags = '', script = ''] = pod.initContainers![0].command!;
    writeFileSync(join(scratch, 'template.yaml'), template);
    const here = script
      .replace('/etc/uoa-proxy-template/proxy.yaml', join(scratch, 'template.yaml'))
      .replace('/etc/uoa-proxy/proxy.yaml', join(scratch, 'rendered.yaml'));
    execFileSync(shell, [flags, here], { env: { ...process.env, POD_IP: '10.42.0.17' } });
    const text = readFileSync(join(scratch, 'rendered.yaml'), 'utf8');
    check('sidecar.yaml', text);
    const { admin, services } = parse(text) as { admin: { listen: string }; services: { vip: string }[] };
    assert.equal(admin.listen, '10.42.0.17:9464');
    assert.equal(services[0].vip, '10.42.0.17');
  });

  test("each node's of the DaemonSet has no problem, no LIP stands in two of them, and what outlives a pod is on the node", () => {
    const all = manifests('daemonset.yaml');
    const configs = Object.entries(one(all, 'ConfigMap').data!);
    for (const [name, text] of configs) check(name, text);
    const lips = configs.flatMap(([, text]) =>
      (parse(text) as { services: { lips: string[] }[] }).services.flatMap((service) => service.lips),
    );
    assert.equal(new Set(lips).size, lips.length);
    const { initContainers, containers, volumes } = one(all, 'DaemonSet').spec!.template!.spec;
    const ofNode = volumes.filter(({ hostPath }) => hostPath);
    assert.deepEqual(
      ofNode.map(({ hostPath }) => hostPath),
      ['/var/lib/uoa-proxy', '/sys/fs/bpf/uoa-proxy'].map((path) => ({ path, type: 'DirectoryOrCreate' })),
      'they outlive the pod',
    );
    const mounts = ofNode.map((each) => containers[0].volumeMounts!.find(({ name }) => name === each.name)!);
    for (const { readOnly } of mounts) assert.equal(readOnly, undefined);
    const [{ mountPath }, pins] = mounts;
    assert.equal(pins.mountPath, '/bpf/uoa-proxy');
    for (const [name, text] of configs) {
      const { sessions } = parse(text) as { sessions: { stateFile: string } };
      assert.equal(dirname(sessions.stateFile), mountPath, `${name}: sessions are saved there`);
    }
    const { command, securityContext, volumeMounts } = initContainers![0];
    assert.deepEqual(
      volumeMounts!.map(({ name }) => name),
      ofNode.map(({ name }) => name),
    );
    assert.deepEqual(securityContext.capabilities.add, ['CHOWN', 'FOWNER']);
    const here = command!.map((word) => (word.startsWith('/') ? join(scratch, word) : word));
    execFileSync(here[0], here.slice(1));
    const { runAsUser, runAsGroup } = containers[0].securityContext;
    for (const mount of volumeMounts!) {
      const { uid, gid, mode } = statSync(join(scratch, mount.mountPath));
      assert.deepEqual([uid, gid, mode & 0o777], [runAsUser, runAsGroup, 0o750]);
    }
    const [container] = one(all, 'DaemonSet').spec!.template!.spec.containers;
    assert.deepEqual(container.args, ['run', '--config', '/etc/uoa-proxy/$(NODE_NAME).yaml']);
    assert.deepEqual(container.env![0].name, 'NODE_NAME');
  });
});

test('the sidecar is started before the game server, and its Service leaves clients their addresses', () => {
  const all = manifests('sidecar.yaml');
  const { initContainers, containers } = one(all, 'Deployment').spec!.template!.spec;
  assert.deepEqual(
    initContainers!.map(({ name, restartPolicy }) => [name, restartPolicy]),
    [
      ['uoa-proxy-config', undefined],
      ['uoa-proxy', 'Always'],
    ],
  );
  assert.equal(containers.length, 1);
  const { spec } = one(all, 'Service');
  assert.equal(spec!.externalTrafficPolicy, 'Local');
  assert.equal(spec!.ports![0].targetPort, initContainers![1].ports![0].containerPort);
});

test('a node never has two proxies of the DaemonSet at a time', () => {
  const { spec } = one(manifests('daemonset.yaml'), 'DaemonSet');
  assert.equal(spec!.template!.spec.hostNetwork, true);
  assert.equal(spec!.updateStrategy!.rollingUpdate.maxSurge, 0);
});

test('the PodMonitor finds both by label and port, under the job that the alerts refer to', () => {
  const { spec } = one(manifests('monitoring.yaml'), 'PodMonitor');
  const [expression] = spec!.selector!.matchExpressions!;
  for (const { file, kind } of WORKLOADS) {
    const { metadata, spec: pod } = one(manifests(file), kind).spec!.template!;
    assert.ok(expression.values.includes(metadata.labels[expression.key]), file);
    const containers = [...(pod.initContainers ?? []), ...pod.containers];
    const ports = containers.flatMap((container) => container.ports ?? []).map(({ name }) => name);
    assert.ok(ports.includes(spec!.podMetricsEndpoints![0].port), file);
  }
  const job = spec!.podMetricsEndpoints![0].relabelings.find(({ targetLabel }) => targetLabel === 'job');
  assert.equal(job!.replacement, 'uoa-proxy');
});
