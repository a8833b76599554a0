// libbpf as far as we call it, with small programs of this test: values set before loading, shared maps, a
// map of maps, test runs, and what its errors say.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import {
  type BpfObject,
  createMap,
  type LoadOptions,
  loadObject,
  MAP_TYPE,
  testRun,
  updateMap,
  updateMapBatch,
} from '../../src/sys/libbpf.ts';
import { BpfError } from '../../src/sys/libbpf-library.ts';
import { close } from '../../src/sys/libc.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';

const LOOKUP = new URL('./lookup.bpf.o', import.meta.url);
const REFUSED = new URL('./refused.bpf.o', import.meta.url);
const FRAME = Buffer.alloc(64);

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

function load(t: TestContext, options?: LoadOptions): BpfObject {
  const object = loadObject(LOOKUP, options);
  t.after(() => object.close());
  return object;
}

function numbers(t: TestContext, entries: number): number {
  const fd = createMap(MAP_TYPE.hash, 'numbers', { keyLen: 4, valueLen: 4, entries });
  t.after(() => close(fd));
  return fd;
}

const resultOf = (object: BpfObject, name: string): number =>
  testRun(object.programFd(name), { data: FRAME }).result;

describe('an object', () => {
  test('has the values that were set before it was loaded', (t) => {
    assert.equal(resultOf(load(t, { readOnly: word(7) }), 'first_number'), 7);
    assert.throws(() => loadObject(LOOKUP, { readOnly: Buffer.alloc(3) }), {
      name: 'SysError',
      code: 'EINVAL',
      message: /set_initial_value of 3 bytes/,
    });
  });

  test('shares a map with another', (t) => {
    const one = load(t);
    const other = load(t, { reuse: { '.bss': one.mapFd('.bss') } });
    const shared = new Int32Array(mapSharedMemory(one.mapFd('.bss'), 4));
    assert.deepEqual([resultOf(one, 'count'), resultOf(other, 'count'), shared[0]], [1, 2, 2]);
  });

  test('reads maps that are put into its map of maps, one after the other', (t) => {
    const object = load(t, { readOnly: word(5) });
    assert.equal(resultOf(object, 'look_up'), 0, 'there is none yet');
    for (const value of [50, 51]) {
      const inner = numbers(t, 2000);
      const keys = Buffer.concat(Array.from({ length: 2000 }, (_, n) => word(n)));
      const values = Buffer.concat(Array.from({ length: 2000 }, () => word(value)));
      updateMapBatch(inner, keys, values, 2000);
      updateMap(object.mapFd('current'), word(0), word(inner));
      assert.equal(resultOf(object, 'look_up'), value);
    }
  });

  test('changes a frame, which a test run gives back', (t) => {
    const object = load(t);
    const { result, data } = testRun(object.programFd('stamp'), { data: FRAME, room: 100 });
    assert.deepEqual([result, data.length, data[0], data[1]], [2, 64, 0xab, 0]);
  });

  test('says which program or map it does not have', (t) => {
    const object = load(t);
    assert.throws(() => object.programFd('none'), /^Error: lookup\.bpf\.o has no program none$/);
    assert.throws(() => object.mapFd('none'), /^Error: lookup\.bpf\.o has no map none$/);
    assert.throws(() => loadObject(LOOKUP, { reuse: { none: 0 } }), /has no map none/);
  });

  test('is loaded whatever signals come', async (t) => {
    let signals = 0;
    const count = () => void signals++;
    process.on('SIGUSR2', count);
    const script = `import os, sys, time, signal
while True:
    os.kill(int(sys.argv[1]), signal.SIGUSR2)
    time.sleep(0.001)`;
    const child = spawn('python3', ['-c', script, String(process.pid)], { stdio: 'ignore' });
    t.after(() => {
      child.kill('SIGKILL');
      process.off('SIGUSR2', count);
    });
    const deadline = performance.now() + 60_000;
    while (signals < 500 && performance.now() < deadline) {
      loadObject(LOOKUP).close();
      await new Promise(setImmediate);
    }
    assert.ok(signals >= 500, `${signals} signals came in a minute`);
  });
});

describe('an error', () => {
  test('of the verifier has its last words and the line of the program', () => {
    assert.throws(
      () => loadObject(REFUSED),
      (error: BpfError) => {
        assert.ok(error instanceof BpfError);
        assert.equal(error.code, 'EACCES');
        assert.match(error.message, /^bpf_object__load failed: EACCES: refused\.bpf\.o\n/);
        assert.match(
          error.message,
          /; return \*\(__u8 \*\)\(long\)ctx->data;[\s\S]*invalid access to packet/,
        );
        return true;
      },
    );
  });

  test('of a file that is no object says which', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'uoa-bpf-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'none.bpf.o');
    assert.throws(() => loadObject(pathToFileURL(path)), { code: 'ENOENT', message: /none\.bpf\.o/ });
    writeFileSync(path, 'text');
    assert.throws(() => loadObject(pathToFileURL(path)), {
      name: 'SysError',
      message: /^bpf_object__open_file failed: errno \d+ \(.*[fF]ormat.*\): .*none\.bpf\.o$/,
    });
  });

  /** What a process prints that loads an object under `wrapper`. */
  function loadUnder(wrapper: readonly string[]): string {
    const script = `
      import { loadObject } from '${new URL('../../src/sys/libbpf.ts', import.meta.url)}';
      try { loadObject(new URL('${LOOKUP}')); console.log('loaded'); }
      catch ({ name, code, message, hint }) { console.log(JSON.stringify({ name, code, message, hint })); }`;
    const argv = [...wrapper, process.execPath, '--import', 'tsx', '--input-type=module', '-e', script];
    const { stdout, stderr } = spawnSync(argv[0], argv.slice(1), { encoding: 'utf8' });
    assert.equal(stderr, '', 'libbpf prints nothing of its own');
    return stdout;
  }

  test('for want of CAP_BPF is EPERM', () => {
    const without = ['setpriv', '--bounding-set=-bpf,-sys_admin', '--inh-caps=-bpf,-sys_admin'];
    assert.equal(JSON.parse(loadUnder(without)).code, 'EPERM');
    assert.equal(loadUnder(['setpriv', '--bounding-set=-all,+bpf,+net_admin']), 'loaded\n');
  });

  test('for want of libbpf names the package', () => {
    const hidden =
      'mount --bind /dev/null "$(ldconfig -p | awk \'/libbpf\\.so\\.1 / { print $NF; exit }\')"; exec "$@"';
    const { name, message, hint } = JSON.parse(loadUnder(['unshare', '--mount', 'sh', '-ec', hidden, 'sh']));
    assert.deepEqual([name, hint], ['IoError', 'install the Debian package libbpf1']);
    assert.match(message, /^libbpf cannot be loaded: /);
  });
});
