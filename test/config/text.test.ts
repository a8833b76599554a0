// Which files a config may be: what is refused is said at once, and a running proxy goes on.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { renderFullYaml } from '../../src/config/describe.ts';
import { ConfigFile } from '../../src/config/file.ts';
import { loadConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problem.ts';
import { TYPESCRIPT } from '../suite/programs.ts';

const folder = mkdtempSync(join(tmpdir(), 'uoa-proxy-text-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string): string => join(folder, name);

const MIB = 1 << 20;

/** A valid config of exactly so many bytes. */
function writeLong(name: string, bytes: number): string {
  const text = renderFullYaml();
  writeFileSync(path(name), `${text}#${'x'.repeat(bytes - text.length - 1)}`);
  return path(name);
}

const problemOf = (file: string): string => {
  try {
    loadConfig(file);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems[0].message;
  }
  return '';
};

describe('a config file', () => {
  it('of 16 MiB is read', () => {
    assert.equal(problemOf(writeLong('largest.yaml', 16 * MIB)), '');
  });

  it('of more is refused by its size', () => {
    const message = /^has 16777217 bytes, expected at most 16777216 \(16 MiB\)$/;
    assert.match(problemOf(writeLong('longer.yaml', 16 * MIB + 1)), message);
  });

  it('of more than the memory has room for is refused by its size', () => {
    const sparse = path('sparse.yaml');
    writeFileSync(sparse, '');
    truncateSync(sparse, 2 ** 40);
    assert.match(problemOf(sparse), /^has 1099511627776 bytes/);
  });

  it('that is a pipe, a device or a directory is refused without being read', () => {
    execFileSync('mkfifo', [path('pipe.yaml')]);
    mkdirSync(path('folder.yaml'));
    assert.equal(problemOf(path('pipe.yaml')), 'is not a regular file, expected a YAML file');
    assert.equal(problemOf('/dev/zero'), 'is not a regular file, expected a YAML file');
    assert.equal(problemOf(path('folder.yaml')), 'is a directory, expected a YAML file');
  });
});

describe('a config file that is loaded again', () => {
  it('has the same meaning as at the start', async () => {
    writeFileSync(path('same.yaml'), renderFullYaml());
    const file = new ConfigFile(path('same.yaml'));
    assert.deepEqual(await file.reload(), await file.load());
  });

  it('is not read as a whole where a service of it changed', async () => {
    writeFileSync(path('changed.yaml'), renderFullYaml());
    const file = new ConfigFile(path('changed.yaml'));
    const before = await file.reload();
    writeFileSync(path('changed.yaml'), renderFullYaml().replace('weight: 100', 'weight: 7'));
    const after = await file.reload();
    assert.equal(after.services[0].realServers[0].weight, 7);
    assert.equal(after.io, before.io);
    writeFileSync(path('changed.yaml'), renderFullYaml().replace('weight: 100', 'weight: none'));
    await assert.rejects(
      file.reload(),
      /line \d+: services\[0\]\.realServers\[0\]\.weight: "none" is not allowed/,
    );
    writeFileSync(path('changed.yaml'), renderFullYaml());
    assert.equal((await file.reload()).services[0].realServers[0].weight, 100);
  });

  it('has its problems with their lines', async () => {
    writeFileSync(path('wrong.yaml'), renderFullYaml().replace('level: info', 'level: loud'));
    await assert.rejects(new ConfigFile(path('wrong.yaml')).reload(), (error) => {
      assert.ok(error instanceof ConfigError);
      const [problem] = error.problems;
      assert.equal(problem.path, 'log.level');
      assert.ok(problem.line! > 1);
      return true;
    });
  });

  it('keeps neither timers nor requests waiting, however large it is', async () => {
    // Comments are skipped; prefixes are what takes time.
    const prefixes = Array.from(
      { length: 40_000 },
      (_, i) => `      - 2001:db8:${(i >> 8).toString(16)}:${i & 255}::/64`,
    );
    writeFileSync(
      path('large.yaml'),
      renderFullYaml().replace('    deny: []', `    deny:\n${prefixes.join('\n')}`),
    );
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    try {
      const { services } = await new ConfigFile(path('large.yaml')).reload();
      assert.equal(services[0].deny.length, 40_000);
      assert.ok(ticks > 10, `${ticks} ticks`);
    } finally {
      clearInterval(timer);
    }
  });

  it('that takes more memory than there is ends the check, not the proxy', () => {
    // A process of its own, because how much there is belongs to the process.
    const program = `
      import { ConfigFile } from ${JSON.stringify(new URL('../../src/config/file.ts', import.meta.url))};
      await new ConfigFile(${JSON.stringify(path('huge.yaml'))}).reload().catch((error) => console.log(error.problems[0].message));
      console.log('goes on');
    `;
    const many = Array.from(
      { length: 100_000 },
      (_, i) => `      - 10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
    );
    writeFileSync(
      path('huge.yaml'),
      renderFullYaml().replace('    deny: []', `    deny:\n${many.join('\n')}`),
    );
    const args = ['--max-old-space-size=40', ...TYPESCRIPT, path('program.mjs')];
    writeFileSync(path('program.mjs'), program);
    const printed = execFileSync(process.execPath, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    assert.match(printed, /^cannot be checked: it takes more memory than there is \(SIGABRT\)\ngoes on\n$/);
  });

  it('is checked by the process that checked it before, or by another where that has ended, and neither holds anything open', () => {
    writeFileSync(path('again.yaml'), renderFullYaml());
    const program = `
      import { readFileSync, writeFileSync } from 'node:fs';
      import { ConfigFile } from ${JSON.stringify(new URL('../../src/config/file.ts', import.meta.url))};
      const path = ${JSON.stringify(path('again.yaml'))};
      const info = readFileSync(path, 'utf8');
      const file = new ConfigFile(path);
      const children = () => readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8').trim();
      const levelAndChild = async (level) => {
        // No key of a service, so all is checked.
        writeFileSync(path, info.replace('level: info', 'level: ' + level));
        return [(await file.reload()).log.level, children()];
      };
      const [first, second] = [await levelAndChild('info'), await levelAndChild('warn')];
      process.kill(Number(second[1]), 'SIGKILL');
      const third = await levelAndChild('error');
      writeFileSync(path, info);
      const both = await Promise.all([file.reload(), file.reload()]);
      console.log(JSON.stringify({ first, second, third, both: both.map(({ log }) => log.level) }));
    `;
    writeFileSync(path('again.mjs'), program);
    const printed = execFileSync(process.execPath, [...TYPESCRIPT, path('again.mjs')], {
      encoding: 'utf8',
      timeout: 200_000,
    });
    const { first, second, third, both } = JSON.parse(printed) as Record<string, string[]>;
    assert.match(first.join(' '), /^info \d+$/);
    assert.deepEqual(second, ['warn', first[1]]);
    assert.match(third.join(' '), /^error \d+$/);
    assert.notEqual(third[1], first[1]);
    assert.deepEqual(both, ['info', 'info']);
  });
});
