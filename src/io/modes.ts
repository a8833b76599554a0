// The modes of packet I/O there are, and the choice between them. A further one is a file beside
// ring-mode.ts, a row here, and a word in the config's io.mode.
import { IoError } from '../sys/io-error.ts';
import type { CaptureSpec, IoHost, IoMode, IoRequest } from './io-mode.ts';
import type { IoOptions, IoStart, PacketIo } from './packet-io.ts';
import { pcapMode } from './pcap-mode.ts';
import { ringMode } from './ring-mode.ts';

/** In the order in which `auto` tries them. */
export const MODES: readonly IoMode[] = [ringMode, pcapMode];

const AUTO = 'auto';

/** How many workers there can be at most, by the config's io.mode. */
export const workersMax = (wanted: string, modes = MODES): number =>
  Math.max(...candidates(wanted, modes).map((mode) => mode.workersMax));

/** `wanted` is the config's io.mode; for `auto` the log says why it is not the first. Throws an IoError. */
export function openIoHost(wanted: string, request: IoRequest, modes = MODES): IoHost {
  const failed: { name: string; error: IoError }[] = [];
  for (const mode of candidates(wanted, modes)) {
    try {
      const host = mode.openHost(request);
      const reasons = failed.map(
        ({ name, error }) => `${name} does not work here: ${error.message} (${error.hint})`,
      );
      if (reasons.length > 0)
        request.log.warn(`io.mode auto: ${mode.name}, because ${reasons.join(', and ')}`);
      return host;
    } catch (error) {
      if (wanted !== AUTO || !(error instanceof IoError)) throw error;
      failed.push({ name: mode.name, error });
    }
  }
  const [first] = failed;
  throw new IoError(
    `io.mode auto: ${first.name} does not work here: ${failed.map(({ error }) => error.message).join('; and ')}`,
    failed.map(({ name, error }) => `for ${name}: ${error.hint}`).join('; '),
    first.error,
  );
}

/** In a worker, by what IoHost.describe and IoHost.fds gave it. Throws an IoError. */
export const openPacketIo = (
  start: IoStart,
  fds: readonly number[],
  options: IoOptions,
  modes = MODES,
): PacketIo => modeNamed(start.mode, modes).open(start, fds, options);

/** What the first of these modes would say of this capture at a start on this host. Throws an IoError. */
export const complaintAbout = (wanted: string, capture: CaptureSpec, modes = MODES): string | undefined =>
  candidates(wanted, modes)[0].complaintAbout(capture);

const candidates = (wanted: string, modes: readonly IoMode[]): readonly IoMode[] =>
  wanted === AUTO ? modes : [modeNamed(wanted, modes)];

function modeNamed(wanted: string, modes: readonly IoMode[]): IoMode {
  const mode = modes.find(({ name }) => name === wanted);
  // The config's schema has the same names.
  if (mode === undefined) throw new Error(`there is no packet I/O ${wanted}`);
  return mode;
}
