// The house rules of docs/architecture.md, read from the import statements: who may import whom, which file
// owns which package, names, sizes. A failure says what to do instead.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MAX_LINES = 400;

const EVERYTHING = [
  'wire',
  'uoa',
  'session',
  'service',
  'datapath',
  'io',
  'route',
  'steer',
  'fast',
  'host',
  'sys',
  'config',
  'admin',
  'health',
];

/**
 * The third column of the table: a folder, a file, or a folder of which only types may be imported. A
 * folder's own files are always allowed.
 */
const MAY_IMPORT: Record<string, { of: string[]; types?: string[]; instead: string }> = {
  wire: { of: [], instead: 'wire is pure: pass what it needs as an argument' },
  uoa: { of: ['wire'], instead: 'a dialect knows bytes and an address, not its session or service' },
  session: {
    of: ['wire', 'uoa/handshake.ts'],
    types: ['uoa'],
    instead: 'a session is data: let datapath decide and send',
  },
  service: {
    of: ['wire', 'uoa', 'session/session.ts', 'session/tuple-hash.ts'],
    types: ['session', 'config'],
    instead: 'let the composition root translate the config',
  },
  datapath: {
    of: ['wire', 'uoa', 'session', 'service'],
    instead: 'the datapath is given bytes and a time and hands bytes to `send`: wire the rest in worker.ts',
  },
  io: {
    of: ['route', 'steer', 'host/port-ranges.ts', 'sys', 'wire'],
    instead: 'io and datapath meet only in the composition root',
  },
  route: {
    of: ['sys', 'wire'],
    types: ['io/packet-io.ts'],
    instead: 'route says where a packet goes; who sends it there is in io',
  },
  steer: {
    of: ['host/port-ranges.ts', 'io/packet-io.ts', 'sys', 'wire'],
    instead: 'steer says who gets a packet; who receives it is in io',
  },
  fast: {
    of: [
      'datapath/counters.ts',
      'datapath/server-cells.ts',
      'route/next-hop.ts',
      'session/hot-state.ts',
      'session/session.ts',
      'sys',
      'uoa/handshake.ts',
      'wire',
    ],
    types: ['datapath', 'route', 'session'],
    instead: 'fast is what the kernel forwards by; who makes its parts is the composition root',
  },
  host: {
    of: ['route', 'io/packet-io.ts', 'sys', 'wire'],
    instead: 'host knows addresses and interfaces, and no packet',
  },
  bpf: { of: [], instead: 'it is C: what loads it is elsewhere' },
  sys: { of: [], instead: 'sys is the kernel interface without policy: move the policy to its caller' },
  config: {
    of: ['wire/address.ts', 'io/mode-names.ts', 'uoa/dialect.ts', 'sys/debugger.ts', 'sys/signals.ts'],
    instead: 'config describes; what applying it means belongs to proxy.ts',
  },
  health: {
    of: ['service', 'sys', 'uoa/proxy-v2.ts', 'wire/address.ts'],
    types: ['config'],
    instead: 'health asks servers and says what it found; what follows from that is for proxy.ts',
  },
  admin: {
    of: [
      'config/admin-socket.ts',
      'config/payload.ts',
      'config/reader.ts',
      'sys/trusted-file.ts',
      'datapath/counters.ts',
      'datapath/memory.ts',
      'datapath/server-cells.ts',
      'datapath/verdict.ts',
      'io/packet-io.ts',
      'wire/address.ts',
      'uoa/dialect.ts',
      'session',
      'service',
    ],
    types: ['config'],
    instead: 'admin reads counters and records; it is handed everything else',
  },
  lab: {
    of: ['wire', 'uoa', 'io', 'route', 'host', 'sys', 'sniff'],
    instead: 'the lab runs the product as a program, from outside',
  },
  sniff: {
    of: ['wire', 'io', 'sys'],
    instead: 'sniff is an outside witness: it knows bytes, not the proxy',
  },
  'version.ts': { of: [], instead: 'it reads one number' },
  'worker-protocol.ts': {
    of: ['datapath', 'fast', 'io', 'route', 'steer', 'host'],
    instead: 'messages are data: behaviour belongs to proxy or worker',
  },
  'workers.ts': {
    of: ['worker-process.ts', 'worker-protocol.ts'],
    instead: 'it keeps processes alive; what they do is in worker.ts',
  },
  'worker-process.ts': {
    of: ['sys/debugger.ts', 'worker-protocol.ts'],
    instead: 'it starts, asks and ends one process; what that does is in worker.ts',
  },
  'worker.ts': { of: [...EVERYTHING, 'worker-protocol.ts'], instead: 'proxy.ts tells it what it must know' },
  'worker-main.ts': {
    of: ['sys/debugger.ts', 'sys/signals.ts', 'worker.ts'],
    instead: 'it decides signals and calls worker.ts, which is loaded after that',
  },
  control: {
    of: [...EVERYTHING, 'worker-protocol.ts', 'workers.ts'],
    instead:
      'control joins the others for proxy.ts; the worker is forked, and the lab is no part of the product',
  },
  'proxy.ts': {
    of: [...EVERYTHING, 'control', 'version.ts', 'worker-protocol.ts', 'workers.ts'],
    instead: 'the worker is forked, not imported, and the lab is no part of the product',
  },
  receiver: {
    of: ['admin', 'config/receiver-schema.ts', 'fast/pins.ts', 'sys', 'uoa', 'version.ts', 'wire'],
    instead: 'the receiver runs on real servers: it knows bytes, maps and hooks, and no session of the proxy',
  },
  ctl: {
    of: ['wire/address.ts'],
    types: ['admin', 'session/snapshot.ts'],
    instead:
      'it speaks HTTP with a proxy that runs elsewhere, and knows no more than the types of its answers',
  },
  cli: {
    of: ['proxy.ts', 'config', 'ctl', 'lab', 'receiver', 'sniff', 'version.ts'],
    instead: 'a command parses its arguments and calls proxy, config, ctl, lab or sniff',
  },
  'main.ts': { of: ['cli', 'sys/debugger.ts'], instead: 'main.ts hands argv to cli, nothing else' },
};

/** Where a package may be imported; `types` means that its types may be imported anywhere. */
const PACKAGE_OWNER: Record<string, { in: string[]; types?: true }> = {
  koffi: { in: ['src/sys/'] },
  cap: { in: ['src/io/cap-package.ts'] },
  'raw-socket': { in: ['src/io/raw-socket-package.ts'] },
  'lru-cache': { in: ['src/session/recency.ts'] },
  'prom-client': { in: ['src/admin/registry.ts'], types: true },
  fastify: { in: ['src/admin/'] },
  yargs: { in: ['src/cli/'] },
  zod: { in: ['src/config/'] },
  yaml: { in: ['src/config/'] },
  'ipaddr.js': { in: ['src/config/address.ts'] },
  tsx: { in: ['src/lab/programs.ts'] },
  pino: { in: ['src/cli/', 'src/proxy.ts'], types: true },
  'pino-pretty': { in: ['src/cli/', 'src/proxy.ts'], types: true },
};

const FORBIDDEN_NAME = /^(utils?|helpers?|common|types?|constants?|managers?|misc|shared)\.ts$/;
const PURE = ['wire', 'uoa', 'session', 'service', 'datapath'];
const IMPURE =
  /\b(Date|performance|setTimeout|setInterval|setImmediate|queueMicrotask|console|await|process\.(hrtime|stdout|stderr))\b/;

interface Import {
  what: string;
  typesOnly: boolean;
}

function files(folder: string, ending: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true })
    .filter((entry) => !['node_modules', 'dist', '.git'].includes(entry.name))
    .flatMap((entry) => {
      const path = posix.join(folder, entry.name);
      if (entry.isDirectory()) return files(path, ending);
      return entry.isFile() && entry.name.endsWith(ending) ? [path] : [];
    })
    .sort();
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** The code without its comments; strings stay. */
function code(path: string): string {
  const token = /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return read(path).replace(token, (_, string: string | undefined) => string ?? ' ');
}

function imports(path: string): Import[] {
  const text = code(path);
  const statement = /^\s*(?:import|export)\s+(type\s)?([^'"();]*?from\s+)?['"]([^'"]+)['"]/gm;
  const call = /\b(?:import|require|resolve)\(\s*['"]([^'"]+)['"]\s*\)/g;
  const found: Import[] = [...text.matchAll(call)].map((match) => ({
    what: match[1] ?? '',
    typesOnly: false,
  }));
  for (const [, type, names = '', what = ''] of text.matchAll(statement)) {
    const named = /^\{([\s\S]*)\}\s*from\s+$/
      .exec(names)?.[1]
      ?.split(',')
      .filter((name) => name.trim() !== '');
    const everyNameIsType = named?.every((name) => name.trim().startsWith('type ')) ?? false;
    found.push({ what, typesOnly: type !== undefined || everyNameIsType });
  }
  return found;
}

/** 'src/io/pcap.ts' -> 'io', 'src/main.ts' -> 'main.ts'. */
function room(path: string): string {
  return path.split('/')[1] ?? '';
}

function covers(allowed: readonly string[], target: string): boolean {
  return allowed.some((entry) => target === `src/${entry}` || target.startsWith(`src/${entry}/`));
}

function packageName(what: string): string {
  return what
    .split('/')
    .slice(0, what.startsWith('@') ? 2 : 1)
    .join('/');
}

const SOURCES = files('src', '.ts');

describe('architecture', () => {
  test('every folder and file of src stands in the table of docs/architecture.md and in this test', () => {
    const table = [...read('docs/architecture.md').matchAll(/^\| (`src\/.*?) \|/gm)]
      .flatMap((row) => [...(row[1] ?? '').matchAll(/`src\/([^`]+)`/g)])
      .map((name) => name[1] ?? '');
    assert.deepEqual(
      [...table].sort(),
      Object.keys(MAY_IMPORT).sort(),
      'the table and this test name the same rooms',
    );
    for (const path of SOURCES) {
      assert.ok(
        room(path) in MAY_IMPORT,
        `${path}: put it into a folder of the table, or give the table a row`,
      );
    }
  });

  test('imports follow the table', () => {
    const wrong: string[] = [];
    for (const path of SOURCES) {
      const rule = MAY_IMPORT[room(path)];
      if (!rule) continue;
      for (const { what, typesOnly } of imports(path)) {
        if (!what.startsWith('.')) continue;
        const target = posix.join(posix.dirname(path), what);
        if (room(target) === room(path) || covers(rule.of, target)) continue;
        if (typesOnly && covers(rule.types ?? [], target)) continue;
        wrong.push(`${path} imports ${target}: ${rule.instead}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  test('no file imports itself by way of others, not even types', () => {
    const importsOf = new Map(
      SOURCES.map((path) => [
        path,
        imports(path)
          .filter(({ what }) => what.startsWith('.'))
          .map(({ what }) => posix.join(posix.dirname(path), what)),
      ]),
    );
    const circles: string[] = [];
    const done = new Set<string>();
    const look = (path: string, way: readonly string[]): void => {
      if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path].join(' -> '));
      if (done.has(path)) return;
      done.add(path);
      for (const next of importsOf.get(path) ?? []) look(next, [...way, path]);
    };
    for (const path of SOURCES) look(path, []);
    assert.deepEqual(circles, [], 'give what both need a file of its own');
  });

  test('nobody but packet I/O knows which modes of it there are', () => {
    // The config's docs say what a value means; a packet ring of sys is the kernel's own word, and so is the
    // receiver's, which has no packet I/O.
    const others = SOURCES.filter(
      (path) => !['io', 'sys', 'receiver'].includes(room(path)) && path !== 'src/config/schema.ts',
    );
    const wrong = others.filter((path) => /\brings?\b|['"]pcap['"]/i.test(read(path)));
    assert.deepEqual(wrong, [], 'ask io/modes.ts, or say it without the name of a mode');
  });

  test('relative imports name the .ts file', () => {
    const wrong = SOURCES.flatMap((path) =>
      imports(path)
        .filter(({ what }) => what.startsWith('.') && !/\.(ts|json)$/.test(what))
        .map(({ what }) => `${path}: '${what}' must end in .ts`),
    );
    assert.deepEqual(wrong, []);
  });

  test('each third-party package has one importing file or folder', () => {
    const wrong: string[] = [];
    for (const path of SOURCES) {
      for (const { what, typesOnly } of imports(path)) {
        if (what.startsWith('.') || what.startsWith('node:')) continue;
        const owner = PACKAGE_OWNER[packageName(what)];
        if (owner && (owner.in.some((place) => path.startsWith(place)) || (typesOnly && owner.types)))
          continue;
        const instead = owner
          ? `only ${owner.in.join(' and ')} may: use what it exports`
          : 'give the package an owner in this test, or write "node:" before a module of Node';
        wrong.push(`${path} imports ${what}: ${instead}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  test('the packet path uses no clock, timer, console, await or module of Node', () => {
    const wrong: string[] = [];
    for (const path of SOURCES.filter((source) => PURE.includes(room(source)))) {
      const used = IMPURE.exec(code(path));
      if (used) wrong.push(`${path} uses ${used[0]}: hand the time in and counters or a verdict out`);
      for (const { what } of imports(path)) {
        if (what.startsWith('node:') && !['node:crypto', 'node:zlib'].includes(what)) {
          wrong.push(`${path} imports ${what}: hand in what it needs`);
        }
      }
    }
    assert.deepEqual(wrong, []);
  });

  test('a file has the name of its idea', () => {
    const wrong = SOURCES.filter((path) => FORBIDDEN_NAME.test(posix.basename(path)));
    assert.deepEqual(
      wrong,
      [],
      'name the idea; if there is none, move each function to the file that it serves',
    );
  });

  test(`a source file has at most ${MAX_LINES} lines`, () => {
    const wrong = SOURCES.map((path) => [path, read(path).trimEnd().split('\n').length] as const).filter(
      ([, lines]) => lines > MAX_LINES,
    );
    assert.deepEqual(wrong, [], 'past that it is two ideas: split it');
  });

  test('a source file opens with a comment that says what it is', () => {
    const wrong = SOURCES.filter((path) => !/^(#![^\n]*\n)?(\/\/ |\/\*\*)/.test(read(path)));
    assert.deepEqual(wrong, []);
  });

  test('nothing is silenced: no `as any`, no ts-ignore, no biome-ignore', () => {
    const silenced = new RegExp(
      ['\\bas any\\b', '@ts-(?:ignore|nocheck|expect-error)', 'biome-ignore'].join('|'),
    );
    const wrong = [...SOURCES, ...files('test', '.ts'), ...files('bench', '.ts')].filter(
      (path) => path !== 'test/architecture.test.ts' && silenced.test(read(path)),
    );
    assert.deepEqual(wrong, [], 'give the value its type');
  });

  test('the tests of packets take nothing from the code that they test', () => {
    const wrong = files('test/packets', '.ts').filter((path) =>
      imports(path).some(({ what }) => what.includes('/src/')),
    );
    assert.deepEqual(wrong, []);
  });

  test('no file depends on the machine that it was written on', () => {
    const words = ['/wo' + 'rk/', 'shared/' + 'vectors', 'shared/' + 'design'];
    const texts = ['.ts', '.json', '.md', '.yaml', '.yml', '.sh', 'run', 'setup', '.py'].flatMap((ending) =>
      files('.', ending),
    );
    const wrong = texts.flatMap((path) => {
      const text = read(path);
      return words.filter((word) => text.includes(word)).map((word) => `${path} mentions ${word}`);
    });
    assert.deepEqual(wrong, []);
  });
});
