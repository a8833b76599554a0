// A config file that changes between being loaded and being watched.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { renderFullYaml } from '../../src/config/describe.ts';
import { ConfigFile } from '../../src/config/file.ts';
import { sampleService } from './sample.ts';

const LIMIT_MS = 60_000;

/**
 * A file that was loaded and, unless `between` is undefined, then written; what is loaded at each call of its
 * watch.
 */
async function levels(between: string | undefined, after: string): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-proxy-file-'));
  const path = join(folder, 'app.yaml');
  const write = (level: string) =>
    writeFileSync(path, renderFullYaml().replace('level: info', `level: ${level}`));
  write('info');
  const file = new ConfigFile(path);
  assert.equal((await file.load()).log.level, 'info');
  if (between !== undefined) write(between);
  const calls = new EventTarget();
  const seen: string[] = [];
  const stop = file.watch(() => {
    void file.load().then(({ log }) => {
      seen.push(log.level);
      calls.dispatchEvent(new Event('call'));
    });
  });
  // The watch does not keep the process running, so something else must.
  const alive = setInterval(() => {}, LIMIT_MS);
  const called = () => once(calls, 'call', { signal: AbortSignal.timeout(LIMIT_MS) });
  try {
    if (between !== undefined) await called();
    const calledAgain = called();
    write(after);
    await calledAgain;
    return seen;
  } finally {
    clearInterval(alive);
    stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('a config file that is loaded again', () => {
  it('has the same objects for services that stayed, also after all of it was read', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'uoa-proxy-file-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, 'app.yaml');
    const write = (level: string, onDown: string) => {
      const services = [6000, 6001].map((vport) => sampleService({ name: `s${vport}`, vport }));
      writeFileSync(
        path,
        JSON.stringify({ log: { level }, services: [services[0], { ...services[1], onDown }] }),
      );
    };
    write('info', 'keep');
    const file = new ConfigFile(path);
    const { services: atStart } = await file.load();
    write('debug', 'move'); // another key than services: all of it is read
    const { services: whole } = await file.reload();
    write('debug', 'reset');
    const { services: quick } = await file.reload();
    assert.equal(whole[0], atStart[0]);
    assert.equal(quick[0], atStart[0]);
    assert.deepEqual([whole[1].onDown, quick[1].onDown], ['move', 'reset']);
  });
});

describe('the watch of a loaded config file', () => {
  it('notices once what changed before it began, and what changes later', async () => {
    assert.deepEqual(await levels('debug', 'warn'), ['debug', 'warn']);
  });

  it('notices that the file becomes again what it was when it was loaded first', async () => {
    assert.deepEqual(await levels('debug', 'info'), ['debug', 'info']);
  });

  it('says nothing of a file that is as it was loaded', async () => {
    assert.deepEqual(await levels(undefined, 'debug'), ['debug']);
  });
});
