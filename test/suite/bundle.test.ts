// Bundled test files are the same as what they are made of, but for the time that they take to start.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { bundle } from './bundle.ts';
import { TYPESCRIPT } from './programs.ts';

const OURS = fileURLToPath(new URL('../../', import.meta.url));

function packageOf(t: TestContext, files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'uoa-bundle-'));
  t.after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'test'));
  symlinkSync(join(OURS, 'node_modules'), join(root, 'node_modules'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, 'test', name), text);
  return root;
}

async function run(root: string, ...paths: string[]): Promise<{ stdout: string; stderr: string }> {
  const bundled = await bundle(root, paths);
  try {
    const argv = [...TYPESCRIPT, bundled.entryOf(paths[0])];
    const { stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' });
    return { stdout, stderr: bundled.withSources(stderr) };
  } finally {
    bundled.remove();
    assert.deepEqual(readdirSync(join(root, '.cache')), []);
  }
}

test('a file has the URL of its source, shares what it imports, and loads more at run time', async (t) => {
  const root = packageOf(t, {
    'one.test.ts': `// One.
      import { shared } from './shared.ts';
      import fc from 'fast-check';
      const { other } = await import('./other.ts');
      const text: string = '' + (other === shared) + typeof fc.assert;
      console.log(text, import.meta.url, "import.meta.url");`,
    'two.test.ts': "import { shared } from './shared.ts'; console.log(shared);",
    'other.ts': "import { shared } from './shared.ts'; export const other = shared;",
    'shared.ts': 'export const shared = {};',
  });
  const { stdout, stderr } = await run(root, 'test/one.test.ts', 'test/two.test.ts');
  assert.equal(stderr, '');
  const url = pathToFileURL(join(root, 'test/one.test.ts')).href;
  assert.equal(stdout, `truefunction ${url} import.meta.url\n`);
});

test('what fails is shown where it stands in its source', async (t) => {
  const root = packageOf(t, {
    'one.test.ts': "// One.\nimport { fail } from './other.ts';\n\nfail('now');\n",
    'other.ts': '/** Other. */\nexport function fail(why: string): never {\n  throw new Error(why);\n}\n',
  });
  const { stderr } = await run(root, 'test/one.test.ts');
  assert.match(stderr, /Error: now\n +at fail \(\S*test\/other\.ts:3:9\)\n +at \S*test\/one\.test\.ts:4:1\n/);
});

test('a file that is no TypeScript is refused with its place', async (t) => {
  const root = packageOf(t, { 'one.test.ts': 'const = 1;' });
  await assert.rejects(
    bundle(root, ['test/one.test.ts']),
    /test\/one\.test\.ts:1:6: ERROR: Expected identifier/,
  );
});
