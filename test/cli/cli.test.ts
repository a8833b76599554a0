import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { commandLines } from './command-lines.ts';
import { PROGRAM, uoaProxy } from './program.ts';

const inOneProcess = commandLines();

describe('the command line', () => {
  it('prints its version', () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    assert.deepEqual(uoaProxy('--version'), { code: 0, stdout: `${version}\n`, stderr: '' });
  });

  for (const args of [
    ['--help'],
    ['run', '--help'],
    ['check', '--help'],
    ['lab', '--help'],
    ['top', '--help'],
  ]) {
    it(`prints ${args.join(' ')} in 80 columns with examples`, async () => {
      const { code, stdout, stderr } = await inOneProcess(...args);
      assert.equal(code, 0);
      assert.equal(stderr, '');
      assert.match(stdout, /^Examples:\n {2}uoa-proxy /m);
      for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
    });
  }

  it('names every command in its help', () => {
    const { stdout } = uoaProxy('--help');
    for (const command of ['run', 'check', 'ctl', 'top', 'sniff', 'fast-path', 'lab', 'completion'])
      assert.match(stdout, new RegExp(`^ {2}uoa-proxy ${command} `, 'm'));
  });

  it('says in the help of run what reloads the config', async () => {
    assert.match((await inOneProcess('run', '--help')).stdout, /file changes, on SIGHUP/);
  });

  const refused: [args: string[], message: RegExp][] = [
    [[], /a command is needed: run, check, ctl, top, sniff, fast-path, receiver, lab or completion/],
    [['rnu'], /Unknown command: rnu/],
    [['run'], /Missing required argument: config/],
    [['check', '--config'], /Not enough arguments following: config/],
    [['check', '--config', 'config/full.yaml', '--fast'], /Unknown argument: fast/],
    [['check', '--config', 'config/full.yaml', 'extra'], /Unknown (command|argument): extra/],
    [['lab', '--clients', 'many'], /--clients must be an integer from 1 to/],
    [['lab', '--servers', '0'], /--servers must be an integer from 1 to/],
    [
      ['lab', '--dialect', 'toa'],
      /Given: "toa", Choices: "ipo", "opp", "elb", "unified", "proxy-v2", "none"/,
    ],
    [['lab', '--family', '5'], /Given: "5", Choices: "4", "6", "nat64", "nat46"/],
    [
      ['lab', '--family', '6'],
      /no receiver reads dialect ipo over IPv6, .* choose --dialect opp, elb, unified, proxy-v2 or none/,
    ],
    [['lab', '--family', 'nat46', '--dialect', 'ipo'], /no receiver reads dialect ipo over IPv6/],
  ];
  for (const [args, message] of refused) {
    it(`refuses "${args.join(' ')}" with exit code 1 and a hint, without a stack`, async () => {
      const { code, stdout, stderr } = await inOneProcess(...args);
      assert.equal(code, 1);
      assert.equal(stdout, '');
      assert.match(stderr, message);
      const of = args.length > 0 && args[0] !== 'rnu' ? `${args[0]} ` : '';
      assert.match(stderr, new RegExp(`^Try: uoa-proxy ${of}--help$`, 'm'));
      assert.doesNotMatch(stderr, /^ +at /m);
    });
  }
});

describe('a process of its own', () => {
  it('ends with exit code 1 and says why, where the command line is refused', async () => {
    const outcome = uoaProxy('rnu');
    assert.equal(outcome.code, 1);
    assert.deepEqual(outcome, await inOneProcess('rnu'));
  });
});

describe('ctl', () => {
  it('starts without what reads a config, which takes as long as all the rest', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'uoa-loaded-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const [node, ...program] = PROGRAM;
    // Node writes down every script that it loaded.
    const env = { ...process.env, NODE_V8_COVERAGE: folder };
    assert.equal(spawnSync(node, [...program, 'ctl', '--help'], { env }).status, 0);
    const loaded = readdirSync(folder)
      .map((name) => readFileSync(join(folder, name), 'utf8'))
      .join('');
    assert.match(loaded, /node_modules\/yargs\//);
    assert.doesNotMatch(loaded, /node_modules\/(zod|yaml|fastify|pino)\//);
  });
});

describe('run', () => {
  it('ends with exit code 1 and the reason when the config does not exist', () => {
    assert.deepEqual(uoaProxy('run', '--config', '/nonexistent/uoa.yaml'), {
      code: 1,
      stdout: '',
      stderr: 'uoa-proxy: /nonexistent/uoa.yaml cannot be used:\n  no such file\n',
    });
  });
});
