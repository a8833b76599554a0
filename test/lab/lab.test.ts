// The embedded lab as a person runs it, `lab --once`: its exit code says whether everything arrived, and it
// leaves nothing.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pidsInside } from '../../src/lab/namespace.ts';
import { nodeArgv } from '../../src/lab/programs.ts';
import { MAIN } from '../e2e/harness.ts';

interface Run {
  child: ChildProcess;
  /** What it printed so far. */
  output: () => string;
  /** Its exit code. */
  ended: Promise<number | null>;
}

function startLab(t: TestContext, ...options: string[]): Run {
  const [node, ...rest] = nodeArgv(MAIN, 'lab', ...options);
  const child = spawn(node, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGTERM'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  return { child, output: () => output, ended: once(child, 'close').then(([code]) => code as number | null) };
}

async function untilPrinted(lab: Run, text: string): Promise<void> {
  while (!lab.output().includes(text)) {
    assert.equal(lab.child.exitCode, null, `the lab ended before it printed "${text}":\n${lab.output()}`);
    await sleep(50);
  }
}

/** Namespaces, processes and files that carry the lab's process id. */
function leftBy({ child }: Run): string[] {
  const isIts = (name: string) => name.startsWith(`uoa-${child.pid}-`);
  const namespaces = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' })
    .stdout.split(/\s+/)
    .filter(isIts);
  const processes = spawnSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' }).stdout.split('\n');
  return [
    ...namespaces,
    ...processes.filter((line) => line.includes(`uoa-${child.pid}-`)),
    ...readdirSync(tmpdir()).filter(isIts),
  ];
}

const shows: { family: string; dialect: string; uoa: string; inserted?: false }[] = [
  { family: '4', dialect: 'ipo', uoa: 'IP option 31, client 10.1.0.2:' },
  { family: '4', dialect: 'opp', uoa: 'protocol 248, client 10.1.0.2:' },
  { family: '6', dialect: 'elb', uoa: 'destination option 31, client [fd00:1::2]:' },
  { family: 'nat64', dialect: 'unified', uoa: 'IP option 31, client [fd00:1::2]:' },
  { family: 'nat46', dialect: 'opp', uoa: 'protocol 248, client 10.1.0.2:', inserted: false },
];

for (const { family, dialect, uoa, inserted } of shows) {
  test(`lab --once --family ${family} --dialect ${dialect} shows a session, passes and leaves nothing behind`, async (t) => {
    const lab = startLab(t, '--once', '--family', family, '--dialect', dialect);
    assert.equal(await lab.ended, 0, lab.output());
    const shown = [
      inserted ?? 'UOA inserted, same bytes',
      'echo ACK: ends here',
      'carrier goes ahead',
      'answer, same bytes',
      `UOA: ${uoa}`,
      `Real server ${family === '6' || family === 'nat46' ? 'fd00:2::11' : '10.2.0.11'} learned`,
      dialect === 'unified' && 'sent to [fd00:1::100]:6000',
      'uoa_acked',
      ' 0 lost',
    ];
    for (const text of shown) {
      if (text !== false) assert.ok(lab.output().includes(text), `it prints "${text}":\n${lab.output()}`);
    }
    assert.doesNotMatch(lab.output(), /other bytes/);
    assert.match(lab.output(), /^PASS$/m);
    assert.deepEqual(leftBy(lab), []);
  });
}

test('lab --dialect none shows that the real servers get no UOA', async (t) => {
  const lab = startLab(t, '--once', '--dialect', 'none');
  assert.equal(await lab.ended, 0, lab.output());
  assert.match(lab.output(), /0 UOAs reached the real servers/);
  assert.doesNotMatch(lab.output(), /UOA: /);
});

/** Clients whose load takes so long that something can be done meanwhile. */
const LONG = ['--clients', '200'];

test('lab --once fails when a real server dies on the way', async (t) => {
  const lab = startLab(t, '--once', ...LONG);
  await untilPrinted(lab, '\nLoad');
  for (const pid of pidsInside(`uoa-${lab.child.pid}-rs`).slice(0, 1)) process.kill(pid, 'SIGKILL');
  assert.equal(await lab.ended, 1, lab.output());
  assert.match(lab.output(), /^FAIL$/m);
  assert.deepEqual(leftBy(lab), []);
});

test('the lab stays up until it is interrupted, then prints the table and passes', async (t) => {
  const lab = startLab(t);
  await untilPrinted(lab, 'Ctrl-C');
  await untilPrinted(lab, 'answered');
  lab.child.kill('SIGINT');
  assert.equal(await lab.ended, 0, lab.output());
  assert.match(lab.output(), /Counters of the proxy/);
  assert.deepEqual(leftBy(lab), []);
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`lab --once that gets ${signal} while it starts leaves nothing behind`, async (t) => {
    const lab = startLab(t, '--once');
    await untilPrinted(lab, 'UOA dialect');
    lab.child.kill(signal);
    assert.equal(await lab.ended, 130, lab.output());
    assert.deepEqual(leftBy(lab), []);
  });
}

test('what a killed lab left behind is removed by the next', async (t) => {
  const killed = startLab(t, '--once', ...LONG);
  await untilPrinted(killed, '\nLoad');
  killed.child.kill('SIGKILL');
  await once(killed.child, 'exit');
  assert.notDeepEqual(leftBy(killed), [], 'nobody could clean up');
  const next = startLab(t, '--once');
  assert.equal(await next.ended, 0, next.output());
  assert.deepEqual(leftBy(killed), []);
  assert.deepEqual(leftBy(next), []);
});
