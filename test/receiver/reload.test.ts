// A reload that fails, in the receiver's process.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import type { ReceiverConfig } from '../../src/config/receiver-schema.ts';
import { startReceiver } from '../../src/receiver/receiver.ts';

test('a reload that fails is said, and the next one works', async () => {
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(line) });
  const config: ReceiverConfig = {
    from: ['10.2.0.200/32'],
    cgroups: [],
    self: false,
    maxClients: 10,
    idle: 60_000,
    acksPerSecond: 0,
    admin: { listen: { host: '127.0.0.1', port: 0 } },
    log: { level: 'info', format: 'json' },
  };
  const configs = [{ ...config, log: { ...config.log, level: 'none' as 'info' } }, config];
  const receiver = await startReceiver(config, log, () => configs.shift()!);
  try {
    await receiver.reload();
    assert.match(lines.at(-1)!, /"msg":"the config was reloaded in part only: .*none/);
    await receiver.reload();
    assert.match(lines.at(-1)!, /"msg":"the config was reloaded"/);
  } finally {
    await receiver.stop();
  }
});
