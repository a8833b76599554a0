// Another plan takes the place of the one at work, between two packets.
import type { Leg } from '../session/leg.ts';
import { HANDSHAKE, isUsed, legOf, SESSION_WORDS } from '../session/session.ts';
import { restartHandshake } from '../uoa/handshake.ts';
import { handshakesChanged, handshakesOver } from './handshake-events.ts';
import type { DatapathPlan } from './plan.ts';
import { noteVips } from './successor.ts';
import type { Sessions, Walk } from './walk.ts';

/**
 * Goes on by another plan of the same capacity; ends the sessions of what is there no more. `isSameLeg`: the
 * number stands for the leg that it stood for before; sessions of another one end as if theirs were gone.
 */
export function reconfigure(
  sessions: Sessions & Pick<Walk, 'admission'>,
  plan: DatapathPlan,
  isSameLeg: (leg: number) => boolean,
): void {
  const { admission, directory, memory, table } = sessions;
  const wereOver = handshakesOver(sessions);
  const legsBefore = directory.legs;
  directory.apply(plan);
  const { services, legs } = directory;
  table.reconfigure(services, legs, isSameLeg);
  noteVips(sessions);
  tellAgain(sessions, legsBefore);
  admission.update(plan.services, memory.records, table.usedSlots);
  handshakesChanged(sessions, wereOver);
}

/**
 * Sessions whose real server is told in another way than before begin with it at once, whatever it was told
 * already.
 */
function tellAgain({ directory, memory, table }: Sessions, before: readonly (Leg | undefined)[]): void {
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
