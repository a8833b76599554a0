// A datapath goes on with the sessions of one that had its memory before: a process that ended, or the file
// of one that was stopped.
import {
  CLIENT,
  cportOf,
  familyOfClient,
  isNormal,
  isUsed,
  LAST_SEEN,
  legOf,
  lportOf,
  serviceOf,
  vipAt,
} from '../session/session.ts';
import { isSameAddress } from '../wire/address.ts';
import { COUNTER, counterRow } from './counters.ts';
import { countSession, gaugesLike, setGauges } from './gauges.ts';
import { affirmLoan } from './hand-over.ts';
import { handshakeChanged } from './handshake-events.ts';
import { VIPS_WORDS } from './memory.ts';
import type { Sessions, Walk } from './walk.ts';

/**
 * Restores the sessions, if there was a predecessor. Its gauges stand until all are counted: whoever reads
 * less meanwhile takes real servers and limits for free. `hasReserve`: lports are kept back for known
 * clients. To be called once, before any packet.
 */
export function restoreSessions(
  sessions: Sessions & Pick<Walk, 'admission' | 'loans' | 'siblings'>,
  hasReserve: boolean,
): void {
  const { admission, directory, loans, memory, table } = sessions;
  if (memory.table[0] !== 0) {
    const { counters, records } = memory;
    const { services, legs } = directory;
    const counted = gaugesLike(memory);
    table.restore(memory.table[0], {
      isFit: (base) => isUsed(records, base) && isOfItsVip(sessions, base) && affirmLoan(sessions, base),
      isKnown: (base) =>
        hasReserve &&
        admission.isKnown(serviceOf(records, base), records, base + CLIENT, records[base + LAST_SEEN]),
      onRestored: (base) => {
        const serviceIndex = serviceOf(records, base);
        const { index, realServerIndex } = directory.legOf(base);
        countSession(counted, serviceIndex, realServerIndex, index, isNormal(records, base), 1);
        admission.restored(serviceIndex, records, base);
        handshakeChanged(sessions, base, false);
      },
      onGivenUp: (base) => {
        const serviceIndex = serviceOf(records, base);
        const pool = legs[legOf(records, base)]?.pool;
        const isRemoved =
          pool === undefined || !pool.has(lportOf(records, base)) || !isOfItsVip(sessions, base);
        if (services[serviceIndex] !== undefined && isRemoved)
          counters[counterRow(serviceIndex) + COUNTER.sessionsRemoved]++;
        loans.end(records, base + CLIENT, cportOf(records, base), serviceIndex);
        admission.ended(records, base);
      },
    });
    setGauges(memory, counted);
  }
  loans.affirmed();
  noteVips(sessions);
}

/** Notes the VIPs of now for a successor that starts with another plan. */
export function noteVips({ directory, memory }: Sessions): void {
  const { vips } = memory;
  vips.fill(0);
  for (const service of directory.services)
    if (service !== undefined) vips.set(service.vips, service.index * VIPS_WORDS);
}

/** Whether the session that a predecessor left is one of the VIP that its service has now. */
function isOfItsVip({ directory, memory }: Sessions, base: number): boolean {
  const { records, vips } = memory;
  const index = serviceOf(records, base);
  const service = directory.services[index];
  if (service === undefined) return false;
  const at = vipAt(familyOfClient(records, base));
  if (vips.subarray(index * VIPS_WORDS, (index + 1) * VIPS_WORDS).every((word) => word === 0)) return true;
  return isSameAddress(vips, index * VIPS_WORDS + at, service.vips, at);
}
