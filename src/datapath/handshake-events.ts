// Tells the listener of the session table when a session's handshake is over and when it begins again.
// Whether it is over follows from the record and the plan; so each place that changes one of them says how it
// was before.
import { HANDSHAKE, isUsed, SESSION_WORDS } from '../session/session.ts';
import { isHandshakeOver, resumeHandshake } from '../uoa/handshake.ts';
import type { Sessions } from './walk.ts';

/** For handshakeChanged, before the change; without a listener it does not matter. */
export function wasHandshakeOver(sessions: Sessions, base: number): boolean {
  return sessions.table.events !== undefined && isOver(sessions, base);
}

/** To be called after whatever may have ended a round of trials or begun one. */
export function handshakeChanged(sessions: Sessions, base: number, wasOver: boolean): void {
  const { events } = sessions.table;
  if (events === undefined) return;
  const isOverNow = isOver(sessions, base);
  if (isOverNow === wasOver) return;
  if (isOverNow) events.handshakeOver(base);
  else events.handshakeAgain(base);
}

/** By slot, for handshakesChanged: before another plan, whether a session's handshake is over. */
export function handshakesOver(sessions: Sessions): Uint8Array | undefined {
  const { events, records, usedSlots } = sessions.table;
  if (events === undefined) return undefined;
  const over = new Uint8Array(usedSlots);
  for (let slot = 0; slot < usedSlots; slot++) {
    const base = slot * SESSION_WORDS;
    if (isUsed(records, base) && isOver(sessions, base)) over[slot] = 1;
  }
  return over;
}

/** After another plan. */
export function handshakesChanged(sessions: Sessions, wereOver: Uint8Array | undefined): void {
  if (wereOver === undefined) return;
  const { records } = sessions.table;
  for (let slot = 0; slot < wereOver.length; slot++) {
    const base = slot * SESSION_WORDS;
    if (!isUsed(records, base)) continue;
    resumeHandshake(records, base + HANDSHAKE, sessions.directory.serviceOf(base));
    handshakeChanged(sessions, base, wereOver[slot] !== 0);
  }
}

function isOver(sessions: Sessions, base: number): boolean {
  if (!sessions.directory.legOf(base).receiver.isTold) return true;
  return isHandshakeOver(sessions.memory.records, base + HANDSHAKE, sessions.directory.serviceOf(base));
}
