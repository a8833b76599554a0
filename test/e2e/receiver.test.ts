// The receiver end to end: servers that know nothing of UOA see their clients, and answer them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAIRS } from './pairs.ts';
import { startReceiverRig } from './receiver-rig.ts';

for (const [pair, dialect] of [
  [PAIRS[4], 'ipo'],
  [PAIRS[4], 'elb'],
  [PAIRS[4], 'unified'],
  [PAIRS[6], 'elb'],
  [PAIRS[6], 'unified'],
] as const)
  test(`${pair.name}, ${dialect}: an unmodified server sees its clients`, async (t) => {
    const receiving = await startReceiverRig(t, { pair, uoa: { dialect } });
    const { rig } = receiving;
    const server = await receiving.startServer();
    const clients = await rig.clients({
      portsPerAddress: 100,
      count: 2000,
      sizes: [10, 64, 1200, pair.full],
    });
    assert.deepEqual(
      { missing: clients.missing, altered: clients.altered, unexpected: clients.unexpected },
      { missing: 0, altered: 0, unexpected: 0 },
      JSON.stringify(clients),
    );
    const seen = await server.end();
    console.log(seen, receiving.receiver.log);
    assert.equal(seen.attributed, clients.named);
    assert.equal(seen.clients, clients.clients);
    assert.equal(seen.wrong, 0);
    console.log(receiving.ask('status', '--limit', '3'));
    for (const name of [
      'uoa_sent_total',
      'uoa_acked_total',
      'uoa_ack_rejected_total',
      'uoa_ack_repeated_total',
      'uoa_exhausted_total',
    ])
      console.log(name, await rig.metric(name));
    assert.equal(await receiving.receiver.end(), 0);
  });
