// docker/kubernetes, and docker/receiver, against the API of Kubernetes. Each object becomes a literal of its
// type in kubernetes-types, which is generated from the OpenAPI document of Kubernetes 1.30, and the compiler
// refuses keys that there are not, wrong types and missing keys that are required. Words of closed lists and
// quantities are plain strings there: this test has them itself. A PodMonitor is no object of Kubernetes' own
// and has no type there: what it must hold is in kubernetes.test.ts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { createScratch, removeScratch } from '../../src/lab/namespace.ts';
import { ROOT } from './dockerfile.ts';

/** apiVersion -> module of kubernetes-types. */
const MODULES: Record<string, string> = { v1: 'core/v1', 'apps/v1': 'apps/v1' };
const CUSTOM = ['monitoring.coreos.com/v1 PodMonitor'];

/** By the end of their path, lists left out. */
const WORDS: Record<string, readonly string[]> = {
  protocol: ['TCP', 'UDP', 'SCTP'],
  dnsPolicy: ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None'],
  externalTrafficPolicy: ['Local', 'Cluster'],
  'initContainers.restartPolicy': ['Always'],
  'tolerations.operator': ['Exists', 'Equal'],
  'tolerations.effect': ['NoSchedule', 'PreferNoSchedule', 'NoExecute'],
  'updateStrategy.type': ['RollingUpdate', 'OnDelete'],
  'seccompProfile.type': ['RuntimeDefault', 'Localhost', 'Unconfined'],
  'emptyDir.medium': ['Memory'],
  'hostPath.type': ['DirectoryOrCreate', 'Directory', 'FileOrCreate', 'File', 'Socket'],
  'Service.spec.type': ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'],
};
const QUANTITY = /^\d+(\.\d+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$/;
const QUANTITIES = /\.(requests|limits)\.[^.]+$|\.sizeLimit$/;
/** As such words are written; kind is one too, but its type says so. */
const WORD = /^([A-Z][a-z]+)+$/;

/**
 * The API's types leave out that an object has a name, and has a spec where that has keys that are required.
 */
const WHOLE = `
type Spec<T> = T extends { spec?: infer S } ? NonNullable<S> : {};
type Whole<T> = T & { metadata: { name: string } } & ({} extends Spec<T> ? {} : { spec: Spec<T> });`;

interface Manifest {
  apiVersion: string;
  kind: string;
}

/** Of every manifest, by a name of the caller's choice, what is wrong with it. */
function refusals(texts: Record<string, string>): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  const folder = createScratch();
  after(() => removeScratch(folder));
  const literals = new Map<string, { name: string; lines: string[] }>();
  for (const [name, text] of Object.entries(texts)) {
    found[name] = [];
    for (const document of parseAllDocuments(text)) {
      found[name].push(...document.errors.map(({ message }) => message));
      const manifest = document.toJS() as Manifest;
      const { apiVersion, kind } = manifest;
      if (CUSTOM.includes(`${apiVersion} ${kind}`)) continue;
      found[name].push(...wrongWords(manifest, kind));
      const file = `${literals.size}.ts`;
      const lines = [
        `import type { ${kind} as Type } from 'kubernetes-types/${MODULES[apiVersion] ?? apiVersion}';`,
        WHOLE,
        `export const manifest: Whole<Type> = ${JSON.stringify(manifest, undefined, 1)};`,
      ].flatMap((line) => line.split('\n'));
      literals.set(file, { name, lines });
      writeFileSync(join(folder, file), lines.join('\n'));
    }
  }
  for (const { file, line, message } of compile(folder)) {
    const { name, lines } = literals.get(file)!;
    found[name].push(`${lines[line - 1].trim()} -> ${message}`);
  }
  return found;
}

function compile(folder: string): { file: string; line: number; message: string }[] {
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(join(ROOT, 'node_modules/kubernetes-types'), join(folder, 'node_modules/kubernetes-types'));
  const compilerOptions = {
    ...{ strict: true, noEmit: true, skipLibCheck: true, types: [], lib: ['es2023'] },
    ...{ module: 'esnext', moduleResolution: 'bundler' },
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
  const argv = [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.json', '--pretty', 'false'];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { cwd: folder, encoding: 'utf8' });
  // Lines with an indent say more of the error above them.
  const errors = stdout
    .split(/\n(?=\S)/)
    .filter((text) => text !== '')
    .map((text) => {
      const [, file, line, message] = /^(\d+\.ts)\((\d+),\d+\): error ([\s\S]*)$/.exec(text) ?? [];
      assert.ok(file && line && message, text + stderr);
      return { file, line: Number(line), message: message.trim().replace(/\n\s*/g, ' ') };
    });
  assert.equal(status === 0, errors.length === 0, stderr);
  return errors;
}

function wrongWords(value: unknown, path: string): string[] {
  if (Array.isArray(value)) return value.flatMap((one) => wrongWords(one, path));
  if (typeof value === 'object' && value !== null)
    return Object.entries(value).flatMap(([key, one]) => wrongWords(one, `${path}.${key}`));
  if (typeof value !== 'string' || /^\w+\.(kind|metadata\..*|data\..*)$/.test(path)) return [];
  if (QUANTITIES.test(path)) return QUANTITY.test(value) ? [] : [`${path}: ${value} is no quantity`];
  const allowed = Object.entries(WORDS).find(([end]) => `.${path}`.endsWith(`.${end}`))?.[1];
  if (allowed?.includes(value) || (allowed === undefined && !WORD.test(value))) return [];
  return [`${path}: ${value} is not among ${allowed?.join(', ') ?? 'the words that this test knows'}`];
}

const FOLDER = join(ROOT, 'docker/kubernetes');
const read = (name: string): string => readFileSync(join(FOLDER, name), 'utf8');

describe('docker/kubernetes', () => {
  const names = readdirSync(FOLDER);
  const found = refusals(Object.fromEntries(names.map((name) => [name, read(name)])));
  for (const name of names.filter((one) => one !== 'monitoring.yaml'))
    test(`${name} has nothing that Kubernetes refuses`, () => assert.deepEqual(found[name], []));

  test('monitoring.yaml has nothing but the PodMonitor, which has no type here', () => {
    const { apiVersion, kind } = parse(read('monitoring.yaml')) as Manifest;
    assert.deepEqual([`${apiVersion} ${kind}`], CUSTOM);
  });
});

describe('docker/receiver', () => {
  const folder = join(ROOT, 'docker/receiver');
  const names = ['sidecar.yaml', 'daemonset.yaml'];
  const found = refusals(
    Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), 'utf8')])),
  );
  for (const name of names)
    test(`${name} has nothing that Kubernetes refuses`, () => assert.deepEqual(found[name], []));
});

const [SPEC] = /^spec:\n {2}replicas:[\s\S]*?(?=^---)/m.exec(read('sidecar.yaml'))!;
const LABELS = 'matchLabels: { app.kubernetes.io/name: game }';

describe('a manifest is refused', () => {
  const rows: [what: string, file: string, from: string, to: string, refusal: RegExp][] = [
    [
      'with a misspelled key',
      'sidecar.yaml',
      'readinessProbe:',
      'readynessProbe:',
      /'"readynessProbe"'.*'Container'/,
    ],
    [
      'with a key in another place',
      'daemonset.yaml',
      'updateStrategy:',
      'strategy:',
      /'"strategy"'.*'DaemonSetSpec'/,
    ],
    [
      'with a key of a pod in a container',
      'sidecar.yaml',
      'stdin: true',
      'hostNetwork: true',
      /'"hostNetwork"'/,
    ],
    ['with text for a number', 'sidecar.yaml', 'replicas: 2', "replicas: '2'", /'string'.*'number'/],
    ['with a number for text', 'sidecar.yaml', "port: '9464'", 'port: 9464', /'number'.*'string'/],
    ['with a number in a command', 'sidecar.yaml', "[sleep, '30']", '[sleep, 30]', /'number'.*'string'/],
    ['with text for true', 'daemonset.yaml', 'hostNetwork: true', 'hostNetwork: "yes"', /'string'.*'boolean/],
    ['with a map for a list', 'daemonset.yaml', '- { key: uoa-proxy', '{ key: uoa-proxy', /'Toleration\[\]'/],
    [
      'with nothing where a map stands',
      'sidecar.yaml',
      'emptyDir: { medium: Memory, sizeLimit: 1Mi }',
      'emptyDir:',
      /'null'/,
    ],
    ['without a port', 'daemonset.yaml', 'containerPort: 9464, ', '', /'containerPort' is missing/],
    ['without a selector', 'sidecar.yaml', `  selector:\n    ${LABELS}\n`, '', /'selector' is missing/],
    ['without a spec', 'sidecar.yaml', SPEC, '', /'spec' is missing/],
    ['without a name', 'daemonset.yaml', 'name: uoa-proxy\n  namespace', 'namespace', /'name' is missing/],
    ['of a kind that there is not', 'sidecar.yaml', 'kind: Deployment', 'kind: Deploiment', /'Deploiment'/],
    ['of a group that there is not', 'sidecar.yaml', 'apiVersion: apps/v1', 'apiVersion: app/v1', /app\/v1/],
    ['with a misspelled word', 'sidecar.yaml', 'protocol: UDP', 'protocol: UPD', /UPD is not among TCP, UDP/],
    [
      'with a word that is not known here',
      'sidecar.yaml',
      'stdin: true',
      'imagePullPolicy: Alway',
      /Alway is not among the/,
    ],
    ['with a quantity that is none', 'daemonset.yaml', 'memory: 2Gi', 'memory: 2GB', /2GB is no quantity/],
  ];
  const found = refusals(
    Object.fromEntries(rows.map(([what, file, from, to]) => [what, read(file).replaceAll(from, to)])),
  );
  for (const [what, file, from, , refusal] of rows)
    test(what, () => {
      assert.ok(read(file).includes(from), `${file} has ${from}`);
      assert.match(found[what].join('\n'), refusal);
    });
});
