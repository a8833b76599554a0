// The BPF objects that are checked in are what their sources say: built anew, in another folder, they are the
// same bytes. And the kernels that the docs name have what they call.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createScratch, removeScratch } from '../../src/lab/namespace.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FOLDERS = ['src', 'bench', 'test'];

const scratch = createScratch();
after(() => removeScratch(scratch));

const filesOf = (ending: RegExp, root = ROOT): string[] =>
  FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => ending.test(path))
      .map((path) => join(folder, path)),
  ).sort();

test('each object is what clang makes of its source, wherever that lies', () => {
  for (const path of ['src/bpf/build', ...filesOf(/\.(bpf\.c|h)$/)]) {
    cpSync(join(ROOT, path), join(scratch, path));
  }
  const { status, stdout, stderr } = spawnSync(join(scratch, 'src/bpf/build'), { encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
  const built = filesOf(/\.bpf\.o$/, scratch);
  assert.deepEqual(filesOf(/\.bpf\.o$/), built, 'one object for each source');
  assert.ok(built.length > 0);
  const different = built.filter(
    (path) => !readFileSync(join(ROOT, path)).equals(readFileSync(join(scratch, path))),
  );
  assert.deepEqual(different, [], 'run npm run build:bpf');
});

/**
 * The last helper of Linux 5.10 (bpf_redirect_peer), and of 5.15 (bpf_task_pt_regs): they are numbered as
 * they came, linux/bpf.h.
 */
const LAST_HELPER_5_10 = 155;
const LAST_HELPER_5_15 = 175;

test('what the proxy loads calls no helper that Linux 5.10 lacks, the fast path and the receiver none that 5.15 does', () => {
  for (const path of filesOf(/\.bpf\.o$/).filter((name) => name.startsWith('src'))) {
    const last = /fast-path|receiver/.test(path) ? LAST_HELPER_5_15 : LAST_HELPER_5_10;
    const helpers = helpersOf(readFileSync(join(ROOT, path)));
    assert.ok(helpers.size > 0);
    assert.deepEqual(
      [...helpers].filter((helper) => helper > last),
      [],
      path,
    );
  }
});

/** The numbers of the helpers that an object's functions call (elf(5), struct bpf_insn). */
function helpersOf(object: Buffer): Set<number> {
  const EXECUTABLE = 4n; // SHF_EXECINSTR
  const CALL = 0x85; // BPF_JMP | BPF_CALL, of a helper where the source register is 0
  const helpers = new Set<number>();
  const headers = Number(object.readBigUInt64LE(40));
  const [headerLen, count] = [object.readUInt16LE(58), object.readUInt16LE(60)];
  for (let header = headers; header < headers + count * headerLen; header += headerLen) {
    if ((object.readBigUInt64LE(header + 8) & EXECUTABLE) === 0n) continue;
    const [off, size] = [24, 32].map((field) => Number(object.readBigUInt64LE(header + field)));
    for (let at = off; at < off + size; at += 8)
      if (object[at] === CALL && object[at + 1] >> 4 === 0) helpers.add(object.readInt32LE(at + 4));
  }
  return helpers;
}
