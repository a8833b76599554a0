// Another plan takes the place of the one at work, between two packets.
import type { Leg } from '../session/leg.ts';
import { HANDSHAKE, isUsed, legOf, SESSION_WORDS } from '../session/session.ts';
import { restartHandshake } from '../uoa/handshake.ts';
import { handshakesChanged, handshakesOver } from './handshake-events.ts';
import { type DatapathPlan, identitiesOf } from './plan.ts';
import type { DatapathState } from './state.ts';
import { noteVips } from './successor.ts';

/**
 * Goes on by another plan of the same capacity; ends the sessions of what is there no more. Plans in between
 * may have been missed, so a number may stand for something else now: sessions of such a leg end as if it
 * were gone.
 */
export function reconfigure(state: DatapathState, plan: DatapathPlan): void {
  const { admission, directory, memory, table } = state;
  const wereOver = handshakesOver(state);
  const before = state.identities;
  const after = identitiesOf(plan.services, before);
  state.identities = after;
  const legsBefore = directory.legs;
  directory.apply(plan);
  const { services, legs } = directory;
  table.reconfigure(services, legs, (leg) => before.legs[leg] === after.legs[leg]);
  noteVips(state);
  tellAgain(state, legsBefore);
  state.noteLegs();
  admission.update(plan.services, memory.records, table.usedSlots);
  handshakesChanged(state, wereOver);
}

/**
 * Sessions whose real server is told in another way than before begin with it at once, whatever it was told
 * already.
 */
function tellAgain({ directory, memory, table }: DatapathState, before: readonly (Leg | undefined)[]): void {
  const isChanged = directory.legs.map((leg, index) => {
    const last = before[index];
    return last !== undefined && leg !== undefined && last.receiver !== leg.receiver;
  });
  if (!isChanged.includes(true)) return;
  const { records } = memory;
  for (let base = 0; base < table.usedSlots * SESSION_WORDS; base += SESSION_WORDS) {
    if (isUsed(records, base) && isChanged[legOf(records, base)]) restartHandshake(records, base + HANDSHAKE);
  }
}
