// The equations that the counters of a datapath keep at any time (docs/operations.md, The equations), over all that it ever
// received. Written by the names of counters, not by the code that counts.
import assert from 'node:assert/strict';
import { COUNTER, COUNTER_COLUMNS, type CounterName, DROP_COLUMN } from '../../src/datapath/counters.ts';
import type { DatapathMemory } from '../../src/datapath/memory.ts';
import { DROP_REASONS } from '../../src/datapath/verdict.ts';

export interface Account {
  received: number;
  forwarded: number;
  dropped: number;
  consumed: number;
  passed: number;
  joined: number;
}

/** One per row: of no service, then the services. */
export function accountsOf({ counters }: Pick<DatapathMemory, 'counters'>): Account[] {
  return Array.from({ length: counters.length / COUNTER_COLUMNS }, (_, row) => {
    const cells = counters.subarray(row * COUNTER_COLUMNS, (row + 1) * COUNTER_COLUMNS);
    const sum = (...names: CounterName[]) => names.reduce((total, name) => total + cells[COUNTER[name]]!, 0);
    return {
      received: sum('inboundPackets', 'outboundPackets', 'unassignedPackets'),
      forwarded: sum('inboundForwarded', 'outboundForwarded'),
      dropped: DROP_REASONS.reduce((total, _, index) => total + cells[DROP_COLUMN + index]!, 0),
      consumed: sum('consumed'),
      passed: sum('passed'),
      joined: sum('fragmentsJoined'),
    };
  });
}

/** Fails unless all that was received ended once; `gathered` packets may still be on their way out. */
export function checkAccounts(memory: DatapathMemory, gathered = 0): void {
  const [none, ...services] = accountsOf(memory);
  const left = ({ received, ...ended }: Account) =>
    received - Object.values(ended).reduce((total, count) => total + count, 0);
  const held = left(none!);
  assert.ok(held >= 0 && held <= 256 * 64, `fragments that wait: ${held}`);
  const open = services.reduce((total, account) => total + left(account), 0);
  assert.ok(open >= 0 && open <= gathered, `packets of services that ended nowhere: ${open}`);
  assert.equal(none!.forwarded, 0, 'what belongs to no service is not forwarded');
  for (const { passed, joined } of services)
    assert.deepEqual([passed, joined], [0, 0], 'of a service nothing is passed or a fragment');
  const begun = [none!, ...services].reduce((total, { received }) => total + received, 0);
  assert.equal(memory.begun[0], begun + memory.counters[COUNTER.handedOver]!, 'each is counted once');
  checkConsumed(memory);
}

/** What is consumed is told apart by other counters. */
function checkConsumed({ counters }: DatapathMemory): void {
  const kinds = [
    'uoaAcked',
    'uoaAckRepeated',
    'uoaAckRejected',
    'emptyRepliesSwallowed',
    'uoaUnsupported',
  ] as const;
  for (let row = 0; row < counters.length; row += COUNTER_COLUMNS) {
    const sum = kinds.reduce((total, kind) => total + counters[row + COUNTER[kind]]!, 0);
    assert.equal(counters[row + COUNTER.consumed], sum, 'consumed is echo ACKs, empty replies and refusals');
  }
}
