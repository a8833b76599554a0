// The control plane's half of a mode whose one worker gets packets by capture filters: it makes them, and the
// worker puts them to work together with the plan. Nothing comes in between, so there is no filter for two
// plans at once, and a reload has room for what a start has room for.
import { captureFilters, type Remedy } from './capture-program.ts';
import { type CaptureSpec, type IoHost, isSameCapture } from './io-mode.ts';
import type { IoStart } from './packet-io.ts';

interface Filtered<Start extends IoStart> {
  startWith(filters: readonly Uint8Array[]): Start;
  readonly fds: readonly number[];
  /** See IoHost. */
  start(filters: readonly Uint8Array[]): void;
  close(): void;
}

/** `open` is called when there is room for the filters. Throws an IoError. */
export function filteredHost<Start extends IoStart>(
  mode: Start['mode'],
  capture: CaptureSpec,
  remedy: Remedy,
  open: () => Filtered<Start>,
): IoHost<Start> {
  let [captured, atWork] = [capture, captureFilters(capture, remedy)];
  const { startWith, fds, start, close } = open();
  return {
    mode,
    workers: 1,
    isSteered: false,
    describe: () => startWith(atWork),
    fds: () => fds,
    start: () => start(atWork),
    prepare: (wanted) => {
      const next = isSameCapture(captured, wanted) ? atWork : captureFilters(wanted, remedy);
      return {
        describe: () => startWith(next),
        commit: () => {
          [captured, atWork] = [wanted, next];
        },
        undo: () => {},
      };
    },
    close,
  };
}
