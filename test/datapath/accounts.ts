// The equations that the counters of a datapath keep at any time (docs/operations.md, The equations), over
// all that it ever received. Written by the names of counters, not by the code that counts.
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

const columns = (...names: CounterName[]): readonly number[] => names.map((name) => COUNTER[name]);
const RECEIVED = columns('inboundPackets', 'outboundPackets', 'unassignedPackets');
const FORWARDED = columns('inboundForwarded', 'outboundForwarded');
const DROPPED = DROP_REASONS.map((_, index) => DROP_COLUMN + index);

/** One per row: of no service, then the services. */
export function accountsOf({ counters }: Pick<DatapathMemory, 'counters'>): Account[] {
  const accounts: Account[] = [];
  for (let row = 0; row < counters.length; row += COUNTER_COLUMNS) {
    accounts.push({
      received: sumOf(counters, row, RECEIVED),
      forwarded: sumOf(counters, row, FORWARDED),
      dropped: sumOf(counters, row, DROPPED),
      consumed: counters[row + COUNTER.consumed],
      passed: counters[row + COUNTER.passed],
      joined: counters[row + COUNTER.fragmentsJoined],
    });
  }
  return accounts;
}

function sumOf(counters: Float64Array, row: number, columns: readonly number[]): number {
  let sum = 0;
  for (const column of columns) sum += counters[row + column];
  return sum;
}

/** Fails unless all that was received ended once; `gathered` packets may still be on their way out. */
export function checkAccounts(memory: DatapathMemory, gathered = 0): void {
  const [none, ...services] = accountsOf(memory);
  const left = ({ received, forwarded, dropped, consumed, passed, joined }: Account) =>
    received - forwarded - dropped - consumed - passed - joined;
  const held = left(none);
  assert.ok(held >= 0 && held <= 256 * 64, `fragments that wait: ${held}`);
  const open = services.reduce((total, account) => total + left(account), 0);
  assert.ok(open >= 0 && open <= gathered, `packets of services that ended nowhere: ${open}`);
  assert.equal(none.forwarded, 0, 'what belongs to no service is not forwarded');
  for (const { passed, joined } of services) {
    assert.equal(passed, 0, 'of a service nothing is passed');
    assert.equal(joined, 0, 'of a service nothing is a fragment');
  }
  const begun = [none, ...services].reduce((total, { received }) => total + received, 0);
  assert.equal(memory.begun[0], begun + memory.counters[COUNTER.handedOver], 'each is counted once');
  checkConsumed(memory);
}

const CONSUMED = columns(
  'uoaAcked',
  'uoaAckRepeated',
  'uoaAckRejected',
  'emptyRepliesSwallowed',
  'uoaUnsupported',
);

/** What is consumed is told apart by other counters. */
function checkConsumed({ counters }: DatapathMemory): void {
  const told = 'consumed is echo ACKs, empty replies and refusals';
  for (let row = 0; row < counters.length; row += COUNTER_COLUMNS)
    assert.equal(counters[row + COUNTER.consumed], sumOf(counters, row, CONSUMED), told);
}
