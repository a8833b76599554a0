import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { SessionSnapshot } from '../../src/session/snapshot.ts';
import { startSample } from '../admin/sample.ts';
import { bashBeside } from './ctl-program.ts';

const SESSION: SessionSnapshot = {
  service: 'game',
  client: '198.51.100.7',
  clientPort: 40_000,
  vip: '10.1.0.100',
  vport: 6000,
  lip: '10.2.0.200',
  lport: 1024,
  rs: '10.2.0.11',
  rsPort: 6000,
  state: 'normal',
  idleMs: 250,
  uoa: { state: 'acked', sent: 1 },
  fastPath: null,
};

/** More than pipes hold (64 KiB). */
async function startLarge(t: TestContext): Promise<string> {
  const admin = await startSample(t);
  const sessions = Array.from({ length: 1000 }, (_, lport) => ({ ...SESSION, lport }));
  admin.sources.sessions.list = async () => ({ total: 1000, sessions });
  return `uoa-proxy ctl --admin ${admin.url('')} sessions --json`;
}

describe('what is printed', () => {
  it('arrives whole, however slowly it is read', async (t) => {
    const { code, stdout, stderr } = await bashBeside(
      t,
      `set -o pipefail; ${await startLarge(t)} | (sleep 3; cat)`,
    );
    assert.deepEqual([code, stderr], [0, '']);
    assert.ok(stdout.length > 3 * 65_536);
    assert.equal((JSON.parse(stdout) as { sessions: object[] }).sessions.length, 1000);
  });

  it('need not be read to its end', async (t) => {
    const { code, stdout, stderr } = await bashBeside(t, `set -o pipefail; ${await startLarge(t)} | head -1`);
    assert.deepEqual([code, stdout, stderr], [0, '{\n', '']);
  });

  it('is missed where it cannot be written', async (t) => {
    for (const command of [await startLarge(t), 'uoa-proxy check --json --config config/full.yaml']) {
      const { code, stderr } = await bashBeside(t, `${command} >/dev/full`);
      assert.equal(code, 1);
      assert.match(stderr, /^uoa-proxy: cannot write to standard output: ENOSPC[^\n]*\n$/);
    }
  });
});
