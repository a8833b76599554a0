// The admin socket: who can reach it, what it replaces, and where it is not put.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { listenLocally } from '../../src/admin/local-socket.ts';
import { askRaw } from './sample.ts';

const NOBODY = 65534;

/** A folder that only root can write to, and that everybody can enter. */
function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-socket-'));
  chmodSync(folder, 0o755);
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

async function listen(t: TestContext, ...paths: string[]) {
  const server = createServer((_request, response) => response.end('here'));
  const socket = await listenLocally(server, paths);
  t.after(() => socket.close());
  return socket;
}

const answers = async (path: string): Promise<string> =>
  (await askRaw({ url: 'http://localhost/', socketPath: path }, 'GET')).body;

/** Leaves a socket at which nobody listens, as a proxy that was killed does. */
async function leave(path: string): Promise<void> {
  const program = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', program, path]), 'exit');
  assert.ok(lstatSync(path).isSocket());
}

describe('the admin socket', () => {
  it('is for its owner only, leaves nothing beside it, and is removed at the end', async (t) => {
    const folder = folderFor(t);
    const path = join(folder, 'a.sock');
    process.umask(0);
    t.after(() => process.umask(0o022));
    const socket = await listen(t, path);
    assert.equal(socket.path, path);
    assert.equal(lstatSync(path).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(folder), ['a.sock']);
    assert.equal(await answers(path), 'here');
    const connects = `require('node:net').connect(process.argv[1]).on('connect', () => process.exit(0)).on('error', ({ code }) => { console.log(code); process.exit(1); })`;
    const { stdout } = spawnSync(process.execPath, ['-e', connects, path], {
      uid: NOBODY,
      gid: NOBODY,
      encoding: 'utf8',
    });
    assert.equal(stdout, 'EACCES\n', 'another user cannot connect');
    socket.close();
    assert.deepEqual(readdirSync(folder), []);
  });

  it('takes the place of one that a killed proxy left', async (t) => {
    const path = join(folderFor(t), 'a.sock');
    await leave(path);
    await listen(t, path);
    assert.equal(await answers(path), 'here');
  });

  it('of a running proxy stays, and the start is refused', async (t) => {
    const folder = folderFor(t);
    const path = join(folder, 'a.sock');
    await listen(t, path);
    await assert.rejects(listen(t, path, join(folder, 'b.sock')), {
      name: 'SocketInUse',
      message: `another proxy has the admin socket ${path}`,
    });
    assert.equal(await answers(path), 'here');
  });

  it('that another put in its place is not removed at the end', async (t) => {
    const path = join(folderFor(t), 'a.sock');
    const socket = await listen(t, path);
    rmSync(path);
    await listen(t, path);
    socket.close();
    assert.equal(await answers(path), 'here');
  });

  it('is at the second place where the first cannot be had', async (t) => {
    const folder = folderFor(t);
    const second = join(folder, 'b.sock');
    const socket = await listen(t, join(folder, 'nowhere', 'a.sock'), second);
    assert.equal(socket.path, second);
  });

  const refused: [name: string, prepare: (path: string, folder: string) => void, reason: RegExp][] = [
    ['over a file', (path) => writeFileSync(path, 'x'), /something else than a socket is there/],
    [
      'over a symbolic link',
      (path) => symlinkSync('/dev/null', path),
      /something else than a socket is there/,
    ],
    [
      'into a folder that everybody can write to',
      (_, folder) => chmodSync(folder, 0o777),
      /others than its owner can write to the folder/,
    ],
    [
      'into one of another user',
      (_, folder) => chownSync(folder, NOBODY, NOBODY),
      /belongs to the user 65534/,
    ],
    ['where there is no folder', (_, folder) => rmSync(folder, { recursive: true }), /ENOENT/],
  ];
  for (const [name, prepare, reason] of refused) {
    it(`is not put ${name}`, async (t) => {
      const folder = join(folderFor(t), 'own');
      mkdirSync(folder);
      const path = join(folder, 'a.sock');
      prepare(path, folder);
      const before = existsSync(folder) ? readdirSync(folder) : [];
      await assert.rejects(listen(t, path), reason);
      assert.deepEqual(existsSync(folder) ? readdirSync(folder) : [], before);
    });
  }

  it('may be in a folder that is sticky, as /tmp', async (t) => {
    const folder = folderFor(t);
    chmodSync(folder, 0o1777);
    await listen(t, join(folder, 'a.sock'));
  });

  it('of another user in a sticky folder keeps nobody from the second place, and is no proxy', async (t) => {
    const [folder, own] = [folderFor(t), folderFor(t)];
    chmodSync(folder, 0o1777);
    const path = join(folder, 'a.sock');
    const program = `require('node:net').createServer().listen(process.argv[1], () => console.log('listens'))`;
    const squatter = spawn(process.execPath, ['-e', program, path], { uid: NOBODY, gid: NOBODY });
    t.after(() => squatter.kill('SIGKILL'));
    await once(squatter.stdout, 'data');
    const second = join(own, 'b.sock');
    assert.equal((await listen(t, path, second)).path, second);
    await assert.rejects(listen(t, path), {
      name: 'Error',
      message: `${path}: a socket of the user ${NOBODY} is there, expected none or one of root or the proxy's user`,
    });
    assert.equal(lstatSync(path).uid, NOBODY, 'it stays');
  });

  it('is refused with a path that is too long for one', async (t) => {
    const folder = folderFor(t);
    await assert.rejects(listen(t, join(folder, `${'x'.repeat(120)}.sock`)), /longer than 107 bytes/);
    assert.deepEqual(readdirSync(folder), []);
  });
});
