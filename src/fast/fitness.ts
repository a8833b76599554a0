// Whether nothing about a session's packets is to be decided, nor will be soon; or what is.
import { WEIGHT_DOWN } from '../datapath/server-cells.ts';
import type { Sessions } from '../datapath/walk.ts';
import { HOT_STATE } from '../session/hot-state.ts';
import { CLIENT, familyOfClient, HANDSHAKE, isNormal, learnedMtuOf, serviceOf } from '../session/session.ts';
import {
  awaitsEmptyReply,
  isHandshakeOver,
  isRefreshDue,
  isToldAs,
  silenceOfClient,
} from '../uoa/handshake.ts';

/** More than the least silence that the programs tell from none (hot-records.ts, `change`). */
const SILENT_MS = 2_500;

/** HOT_STATE.hot, or why the session may not be that; by the plan at work. */
export function fitnessOf({ directory, memory }: Sessions, base: number, nowMs: number): number {
  const { records } = memory;
  if (memory.common.fastPathOff[serviceOf(records, base)] !== 0) return HOT_STATE.off;
  if (!isNormal(records, base)) return HOT_STATE.unanswered;
  if (learnedMtuOf(records, base, nowMs) !== 0) return HOT_STATE.mtu;
  const service = directory.serviceOf(base);
  const leg = directory.legOf(base);
  if (leg.proxyV2 !== undefined) return HOT_STATE.proxy_v2;
  if (leg.family !== familyOfClient(records, base)) return HOT_STATE.nat64;
  // Of the proxy's own and of real servers each datagram is judged by where it came from.
  if (directory.addresses.isAnybodys(records, base + CLIENT)) return HOT_STATE.own;
  if (directory.weightOf(leg) === WEIGHT_DOWN && service.onDown !== 'keep') return HOT_STATE.down;
  const words = base + HANDSHAKE;
  if (awaitsEmptyReply(records, words, nowMs)) return HOT_STATE.uoa;
  const choice = leg.receiver.choiceAt(nowMs);
  if (choice < 0) return HOT_STATE.hot;
  const isOver =
    isHandshakeOver(records, words, service) &&
    (service.maxTrials === 0 || isToldAs(records, words, directory.tellingOf(choice, leg, nowMs)));
  return isOver ? HOT_STATE.hot : HOT_STATE.uoa;
}

/** Whether the UOA is to be sent again, for its age, to the real server of a session that is else fit. */
export function isToRefresh(sessions: Sessions, base: number, nowMs: number): boolean {
  const { directory, memory } = sessions;
  if (!isTold(sessions, base, nowMs)) return false;
  return isRefreshDue(memory.records, base + HANDSHAKE, directory.serviceOf(base), nowMs);
}

const isTold = ({ directory }: Sessions, base: number, nowMs: number): boolean =>
  directory.serviceOf(base).maxTrials > 0 && directory.legOf(base).receiver.choiceAt(nowMs) >= 0;

/** Since the client's last packet, where that matters to the UOA; else 0. */
export const clientSilenceMs = (sessions: Sessions, base: number, nowMs: number): number =>
  isTold(sessions, base, nowMs) ? silenceOfClient(sessions.memory.records, base + HANDSHAKE, nowMs) : 0;

/**
 * Whether its client sends nothing for now, so that its next packet can be left to the datapath alone, while
 * those to it stay hot.
 */
export const isClientSilent = (sessions: Sessions, base: number, nowMs: number): boolean =>
  clientSilenceMs(sessions, base, nowMs) >= SILENT_MS;

/**
 * After how long a silence of its client the next packet is to be left to the datapath, which may begin a
 * round of UOA with it; 0: it never does.
 */
export function idleMsOf({ directory }: Sessions, base: number): number {
  const { idleRefreshMs, maxTrials } = directory.serviceOf(base);
  return maxTrials > 0 && directory.legOf(base).receiver.isTold ? idleRefreshMs : 0;
}
