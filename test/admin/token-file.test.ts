// The token's file: what is taken for one, and what becomes of one that changes.
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { TokenFile } from '../../src/admin/token-file.ts';
import { askRaw, startSample } from './sample.ts';

const [FIRST, SECOND] = ['0123456789abcdef', 'fedcba9876543210'] as const;

function fileWith(t: TestContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-token-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'token');
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

describe('a token file', () => {
  it('gives its first line', (t) => {
    const path = fileWith(t, ` ${FIRST} \nmore\n`);
    assert.equal(new TokenFile(path, assert.fail).current, FIRST);
    chmodSync(path, 0o640);
    assert.equal(new TokenFile(path, assert.fail).current, FIRST);
  });

  it('may be a link of root, as Kubernetes mounts secrets', (t) => {
    const path = fileWith(t, FIRST);
    symlinkSync(path, `${path}.link`);
    assert.equal(new TokenFile(`${path}.link`, assert.fail).current, FIRST);
  });

  const refused: [name: string, change: (path: string) => void, message: RegExp][] = [
    ['is readable for everybody', (path) => chmodSync(path, 0o644), /everybody can read it \(mode 0644\)/],
    ['its group can write to', (path) => chmodSync(path, 0o660), /others than its owner can write to it/],
    [
      'belongs to another user',
      (path) => chownSync(path, 65534, 0),
      /it belongs to the user 65534, expected root/,
    ],
    ['is missing', (path) => rmSync(path), /does not exist/],
    ['is too short', (path) => writeFileSync(path, 'short\n'), /has 5 characters, expected at least 16/],
    [
      'is reached by a link of another user',
      (path) => {
        renameSync(path, `${path}.own`);
        symlinkSync(`${path}.own`, path);
        lchownSync(path, 65534, 65534);
      },
      /it belongs to the user 65534/,
    ],
    [
      'is a folder',
      (path) => {
        rmSync(path);
        symlinkSync('/', path);
      },
      /it is not a file/,
    ],
  ];
  for (const [name, change, message] of refused) {
    it(`that ${name} is refused, by name and with a hint`, (t) => {
      const path = fileWith(t, FIRST);
      change(path);
      assert.throws(
        () => new TokenFile(path, assert.fail),
        (error: Error & { hint?: string }) => {
          assert.match(error.message, message);
          assert.ok(error.message.includes(`admin.tokenFile ${path}`));
          assert.ok(error.hint);
          return true;
        },
      );
    });
  }

  it('that changed is read again, also where it was replaced', async (t) => {
    const path = fileWith(t, FIRST);
    const token = new TokenFile(path, assert.fail);
    const admin = await startSample(t, {}, { token });
    const status = async (text: string) =>
      (await askRaw({ url: admin.url('/stats') }, 'GET', { headers: { authorization: `Bearer ${text}` } }))
        .status;
    assert.deepEqual([await status(FIRST), await status(SECOND)], [200, 401]);
    writeFileSync(path, SECOND);
    assert.deepEqual([await status(FIRST), await status(SECOND)], [401, 200]);
    writeFileSync(`${path}.new`, FIRST, { mode: 0o600 });
    renameSync(`${path}.new`, path);
    assert.deepEqual([await status(FIRST), await status(SECOND)], [200, 401]);
  });

  it('that cannot be used any more is said once, and the token before stays', (t) => {
    const path = fileWith(t, FIRST);
    const said: string[] = [];
    const token = new TokenFile(path, (text) => said.push(text));
    chmodSync(path, 0o644);
    assert.deepEqual([token.current, token.current, said.length], [FIRST, FIRST, 1]);
    assert.match(said[0], /^the token before stays in use: admin\.tokenFile .*everybody can read it/);
    rmSync(path);
    assert.deepEqual([token.current, token.current, said.length], [FIRST, FIRST, 2]);
    writeFileSync(path, SECOND, { mode: 0o600 });
    assert.equal(token.current, SECOND);
  });
});
