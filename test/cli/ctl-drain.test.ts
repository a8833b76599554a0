// `ctl drain` waits until the proxy is gone, whatever comes between.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { commandLines } from './command-lines.ts';
import { uoaProxyBeside } from './ctl-program.ts';

const uoaProxy = commandLines();

interface Stats {
  draining: boolean;
  uptimeSeconds: number;
  sessions: { normal: number; oneway: number };
}
type Step = Partial<Stats> | 'reset' | 'gone';
const DRAINING: Stats = { draining: true, uptimeSeconds: 100, sessions: { normal: 0, oneway: 0 } };

/** A proxy that answers /stats step by step, and the last step for ever. */
async function startScript(t: TestContext, ...steps: Step[]): Promise<string> {
  const server = createServer(({ method, socket }, response) => {
    if (method === 'POST') {
      response.end('{"draining":true,"timeoutMs":60000}');
      return;
    }
    const step = steps.length > 1 ? steps.shift()! : steps[0];
    if (step === 'reset' || step === 'gone') socket.destroy();
    else response.setHeader('connection', 'close').end(JSON.stringify({ ...DRAINING, ...step }));
    if (step === 'gone') server.close();
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const FIRST = 'draining: no new sessions; the proxy ends when there are none left, at the latest in 1m 0s\n';
const sessions = (normal: number, oneway: number): Step => ({ sessions: { normal, oneway } });

describe('ctl drain waits', () => {
  const rows: [name: string, steps: Step[], stdout: string][] = [
    [
      'until nobody listens any more',
      [sessions(2, 1), sessions(1, 0), {}, 'gone'],
      `${FIRST}3 sessions left\ndrained, and the proxy has ended\n`,
    ],
    [
      'and says what was left when the time was over',
      [sessions(1, 0), 'gone'],
      `${FIRST}1 session left\nthe proxy has ended; 1 session a moment before\n`,
    ],
    [
      'although a connection breaks',
      ['reset', {}, 'reset', {}, 'gone'],
      `${FIRST}drained, and the proxy has ended\n`,
    ],
    [
      'and sees that another one was started in its place',
      [{}, { draining: false, uptimeSeconds: 0 }],
      `${FIRST}drained, and the proxy has ended\n`,
    ],
  ];
  for (const [name, steps, stdout] of rows) {
    it(name, async (t) => {
      const admin = await startScript(t, ...steps);
      const outcome = await uoaProxy('ctl', '--admin', admin, 'drain');
      assert.deepEqual(outcome, { code: 0, stdout, stderr: '' });
    });
  }

  it('and prints the answer only with --json', async (t) => {
    const admin = await startScript(t, sessions(2, 1), 'gone');
    const { code, stdout } = await uoaProxy('ctl', '--admin', admin, '--json', 'drain');
    assert.deepEqual([code, JSON.parse(stdout)], [0, { draining: true, timeoutMs: 60_000 }]);
  });

  it('and ends with 1 when the drain is taken back', async (t) => {
    const admin = await startScript(t, sessions(2, 1), { draining: false });
    assert.deepEqual(await uoaProxyBeside(t, 'ctl', '--admin', admin, 'drain'), {
      code: 1,
      stdout: `${FIRST}3 sessions left\n`,
      stderr: 'uoa-proxy: the drain was taken back: the proxy takes new sessions\n',
    });
  });

  it('not with --no-wait', async (t) => {
    const admin = await startScript(t, sessions(2, 1));
    assert.deepEqual(await uoaProxy('ctl', '--admin', admin, 'drain', '--no-wait'), {
      code: 0,
      stdout: FIRST,
      stderr: '',
    });
  });
});
