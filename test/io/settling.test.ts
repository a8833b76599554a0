// What ring I/O counts of the packets that it gathers, and when: a process may be killed between any two
// instructions.
import assert from 'node:assert/strict';
import test from 'node:test';
import { udp4 } from '../packets/builder.ts';
import { hex, pattern } from '../packets/bytes.ts';
import { sh, startProgram, threeInARow } from './namespaces.ts';

test('a packet counts as sent when it is settled, not with its whole batch', async (t) => {
  const { lb, server } = threeInARow(t);
  const mac = sh(`ip netns exec ${server} cat /sys/class/net/s0/address`).trim();
  sh(`ip -n ${lb} neighbor replace 10.2.0.2 lladdr ${mac} dev lan0 nud permanent`);
  const packets = Array.from({ length: 8 }, (_, n) =>
    hex(udp4({ src: '10.2.0.1', sport: 5000 + n, dst: '10.2.0.2', dport: 6000, payload: pattern(32) })),
  );
  const program = startProgram(t, lb, 'io/settling-program.ts', { packets });
  const sendings = await program.next<unknown[]>('sendings');
  const sent = await program.next<number[]>('sent');
  const gathered = sendings.filter((sending) => sending === 'gathered').length;
  assert.ok(gathered >= 7, `${sendings}: one of them may confirm the neighbor`);
  const first = 8 - gathered;
  assert.deepEqual(
    sent,
    Array.from({ length: gathered }, (_, n) => first + n + 1),
  );
});
