// The modes of packet I/O there are, and the choice between them. A further one is a file beside
// ring-mode.ts, its name in mode-names.ts, and the row here that the compiler asks for then.
import { IoError } from '../sys/io-error.ts';
import type { CaptureSpec, IoHost, IoModes, IoRequest } from './io-mode.ts';
import type { ConfigMode } from './mode-names.ts';
import { NoRoomError } from './no-room.ts';
import type { IoOptions, IoStart, ModeName, PacketIo, StartOf } from './packet-io.ts';
import { pcapMode } from './pcap-mode.ts';
import { ringMode } from './ring-mode.ts';

export const MODES: Required<Pick<IoModes, ConfigMode>> = { ring: ringMode, pcap: pcapMode };

const AUTO = 'auto';
/** The config's io.mode. */
export type WantedMode = ModeName | typeof AUTO;

/** How many workers there can be at most. */
export const workersMax = (wanted: WantedMode, modes: IoModes = MODES): number =>
  Math.max(...candidates(wanted, modes).map((mode) => mode.workersMax));

/** For `auto` the log says why it is not the first. Throws an IoError. */
export function openIoHost(wanted: WantedMode, request: IoRequest, modes: IoModes = MODES): IoHost {
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
      if (wanted !== AUTO || !(error instanceof IoError) || error instanceof NoRoomError) throw error;
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
export function openPacketIo<Name extends ModeName>(
  start: StartOf<Name>,
  fds: readonly number[],
  options: IoOptions,
  modes: IoModes = MODES,
): PacketIo {
  return modeNamed(start.mode, modes).open(start, fds, options);
}

/** See IoMode.canWait. */
export const canWait = ({ mode }: IoStart, modes: IoModes = MODES): boolean =>
  modeNamed(mode, modes).canWait ?? false;

/** See IoMode.canBeSteered. */
export const canBeSteered = (wanted: WantedMode, modes: IoModes = MODES): boolean =>
  candidates(wanted, modes).some((mode) => mode.canBeSteered ?? false);

/** What this host lacks for the mode, where that can be told without opening anything; of `auto` nothing. */
export const lackFor = (wanted: WantedMode, modes: IoModes = MODES): IoError | undefined =>
  wanted === AUTO ? undefined : modeNamed(wanted, modes).lacks();

/** See IoMode.refusalOf; for `auto` of the first, since none has room for what another has none for. */
export const refusalOf = (
  wanted: WantedMode,
  capture: CaptureSpec,
  modes: IoModes = MODES,
): NoRoomError | undefined => candidates(wanted, modes)[0].refusalOf(capture);

type AnyMode = NonNullable<IoModes[ModeName]>;

const candidates = (wanted: WantedMode, modes: IoModes): readonly AnyMode[] =>
  wanted === AUTO ? Object.values(modes) : [modeNamed(wanted, modes)];

function modeNamed<Name extends ModeName>(name: Name, modes: IoModes): NonNullable<IoModes[Name]> {
  const mode = modes[name];
  if (mode === undefined) throw new Error(`there is no packet I/O ${name}`);
  return mode;
}
