// The BPF objects that are checked in are what their sources say: built anew, in another folder, they are the
// same bytes.
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
