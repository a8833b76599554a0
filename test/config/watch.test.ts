// A config file that changes under a watch, in each of the ways in which such files are written.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { watchConfig } from '../../src/config/watch.ts';
import { TYPESCRIPT } from '../suite/programs.ts';

const LIMIT_MS = 60_000;

/** A watched file that says `one`, what it says at each call, and a wait for the next call. */
async function watched(
  scenario: (file: {
    folder: string;
    path: string;
    seen: string[];
    change: () => Promise<void>;
  }) => Promise<void>,
  place: (folder: string) => string = (folder) => {
    writeFileSync(join(folder, 'app.yaml'), 'one');
    return join(folder, 'app.yaml');
  },
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-proxy-watch-'));
  const path = place(folder);
  const calls = new EventTarget();
  const seen: string[] = [];
  const stop = watchConfig(path, () => {
    seen.push(readFileSync(path, 'utf8'));
    calls.dispatchEvent(new Event('call'));
  });
  const change = async () => {
    const limit = AbortSignal.timeout(LIMIT_MS);
    const before = seen.length;
    while (seen.length === before) await once(calls, 'call', { signal: limit });
  };
  // The watch does not keep the process running, so something else must.
  const alive = setInterval(() => {}, LIMIT_MS);
  try {
    await scenario({ folder, path, seen, change });
  } finally {
    clearInterval(alive);
    stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('a watched config file is noticed', () => {
  const ways: [name: string, write: (path: string, folder: string) => void][] = [
    ['when it is written in place', (path) => writeFileSync(path, 'two')],
    ['when it is appended to', (path) => appendFileSync(path, ' and two')],
    [
      'when another file is renamed over it',
      (path, folder) => {
        writeFileSync(join(folder, 'new'), 'two');
        renameSync(join(folder, 'new'), path);
      },
    ],
    [
      'when it is moved away and written anew, as editors do that keep a backup',
      (path) => {
        renameSync(path, `${path}~`);
        writeFileSync(path, 'two');
      },
    ],
    [
      'when it has the same length and time of change as before',
      (path) => {
        writeFileSync(path, 'eno');
        utimesSync(path, 1_000_000, 1_000_000);
      },
    ],
  ];
  for (const [name, write] of ways) {
    it(name, async () => {
      await watched(async ({ folder, path, seen, change }) => {
        utimesSync(path, 1_000_000, 1_000_000);
        const changed = change();
        write(path, folder);
        await changed;
        assert.deepEqual(seen, [readFileSync(path, 'utf8')]);
        assert.notEqual(seen[0], 'one');
      });
    });
  }

  it('when the link of a ConfigMap is swapped, each time', async () => {
    const version = (folder: string, name: string, text: string) => {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, 'app.yaml'), text);
      symlinkSync(name, join(folder, '..data_tmp'));
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    };
    const place = (folder: string) => {
      version(folder, '..2026_1', 'one');
      symlinkSync(join('..data', 'app.yaml'), join(folder, 'app.yaml'));
      return join(folder, 'app.yaml');
    };
    await watched(async ({ folder, seen, change }) => {
      for (const [name, text] of [
        ['..2026_2', 'two'],
        ['..2026_3', 'three'],
      ] as const) {
        const changed = change();
        version(folder, name, text);
        await changed;
        rmSync(join(folder, name === '..2026_2' ? '..2026_1' : '..2026_2'), { recursive: true });
      }
      assert.deepEqual(seen, ['two', 'three']);
    }, place);
  });

  it('once, when it is written in several steps', async () => {
    await watched(async ({ path, seen, change }) => {
      const changed = change();
      writeFileSync(path, '');
      for (const part of ['t', 'w', 'o']) {
        await new Promise((resolve) => setTimeout(resolve, 60));
        appendFileSync(path, part);
      }
      await changed;
      assert.deepEqual(seen, ['two']);
    });
  });

  it('when it comes back after it was away', async () => {
    await watched(async ({ path, seen, change }) => {
      rmSync(path);
      const changed = change();
      setTimeout(() => writeFileSync(path, 'two'), 700);
      await changed;
      assert.deepEqual(seen, ['two']);
    });
  });

  it('when it was not there at first', async () => {
    await watched(
      async ({ path, seen, change }) => {
        const changed = change();
        writeFileSync(path, 'two');
        await changed;
        assert.deepEqual(seen, ['two']);
      },
      (folder) => join(folder, 'later.yaml'),
    );
  });
});

describe('a watched config file is not noticed', () => {
  const ways: [name: string, write: (path: string, folder: string) => void][] = [
    ['when it is written with the same content', (path) => writeFileSync(path, 'one')],
    ['when it is touched', (path) => utimesSync(path, 1_000_000, 2_000_000)],
    ['when its mode changes', (path) => chmodSync(path, 0o600)],
    [
      'when it is replaced by a copy',
      (path, folder) => {
        writeFileSync(join(folder, 'new'), 'one');
        renameSync(join(folder, 'new'), path);
      },
    ],
    [
      'when it is away for a moment',
      (path) => {
        renameSync(path, `${path}~`);
        setTimeout(() => renameSync(`${path}~`, path), 300);
      },
    ],
  ];
  for (const [name, write] of ways) {
    it(name, async () => {
      await watched(async ({ folder, path, seen, change }) => {
        write(path, folder);
        await new Promise((resolve) => setTimeout(resolve, 1000));
        const changed = change();
        writeFileSync(path, 'two');
        await changed;
        assert.deepEqual(seen, ['two']);
      });
    });
  }

  it('by a watch that was ended', async () => {
    await watched(async ({ path, change }) => {
      let calls = 0;
      watchConfig(path, () => calls++)();
      const changed = change();
      writeFileSync(path, 'two');
      await changed;
      assert.equal(calls, 0);
    });
  });
});

describe('a watch', () => {
  it('keeps no process running', () => {
    const module = fileURLToPath(new URL('../../src/config/watch.ts', import.meta.url));
    const program = `
      import { watchConfig } from ${JSON.stringify(module)};
      watchConfig(process.argv[1], () => {});
      console.log('watched');`;
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      [...TYPESCRIPT, '--input-type=module', '-e', program, module],
      { encoding: 'utf8', timeout: LIMIT_MS, cwd: fileURLToPath(new URL('../..', import.meta.url)) },
    );
    assert.deepEqual([stdout, stderr, status], ['watched\n', '', 0]);
  });
});
