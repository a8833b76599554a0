// Packets of two sessions, one of each family, as they come and as they leave the fast path's programs.
import type { FastPathKind } from '../../src/fast/attachment.ts';
import {
  DIRECTIONS,
  KINDS,
  openRig,
  type Rig,
  SESSION4,
  SESSION6,
  type TestSession,
  withEnds,
} from '../fast/rig.ts';
import { pattern } from '../packets/bytes.ts';
import { type EitherFields, udp } from '../packets/uoa-builder.ts';

export const SESSIONS = [SESSION4, SESSION6];
export const PAYLOAD = pattern(40);

export const familyOf = (session: TestSession): 4 | 6 => (session === SESSION4 ? 4 : 6);
export const headersOf = (session: TestSession): number => (session === SESSION4 ? 28 : 48);
export const came = (session: TestSession, direction: number, fields: Partial<EitherFields> = {}) =>
  udp(withEnds(session.from[direction], { payload: PAYLOAD, ...fields }));
/** The packet anew, with the ends that it leaves with. */
export const left = (session: TestSession, direction: number, fields: Partial<EitherFields> = {}) =>
  udp(withEnds(session.to[direction], { payload: PAYLOAD, ...fields, ttl: (fields.ttl ?? 64) - 1 }));

export const slotOf = (session: TestSession): number => SESSIONS.indexOf(session);

/** Each session, direction and kind of program over a rig where the sessions are hot. */
export function each(
  t: { after(fn: () => void): void },
  body: (rig: Rig, kind: FastPathKind, session: TestSession, direction: 0 | 1, about: string) => void,
): void {
  const rig = openRig(t);
  for (const session of SESSIONS) rig.add(session, slotOf(session));
  for (const kind of KINDS) {
    for (const session of SESSIONS) {
      for (const direction of DIRECTIONS) {
        body(rig, kind, session, direction, `${kind}, IPv${familyOf(session)}, direction ${direction}`);
      }
    }
  }
}
