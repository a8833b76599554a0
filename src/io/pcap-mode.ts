// Packet I/O through libpcap as a mode (io-mode.ts): the one worker opens everything itself, and the control
// plane only makes the filters.
import { type CaptureFilter, captureFilters, sayComplaints } from './capture-program.ts';
import { type CaptureSpec, type IoHost, type IoMode, type IoRequest, isSameCapture } from './io-mode.ts';
import { pcapLacks } from './optional-package.ts';
import { openPcapIo, type PcapStart } from './pcap.ts';

export const pcapMode: IoMode<PcapStart> = {
  name: 'pcap',
  workersMax: 1,
  lacks: pcapLacks,
  complaintAbout: ({ ports, vips, lips }) => captureFilters(ports, vips, lips).complaint,
  openHost: (request) => openHost(request),
  open: ({ filters, bufferSize }, _fds, options) => openPcapIo({ ...options, filters, bufferSize }),
};

function openHost({ capture, bufferSize, log }: IoRequest): IoHost<PcapStart> {
  const lacks = pcapLacks();
  if (lacks !== undefined) throw lacks;
  const say = sayComplaints(log);
  const filtersOf = ({ ports, vips, lips }: CaptureSpec) => captureFilters(ports, vips, lips);
  const startWith = (filters: readonly CaptureFilter[]): PcapStart => ({ mode: 'pcap', filters, bufferSize });
  let captured = capture;
  let atWork = filtersOf(capture);
  say(atWork);
  return {
    mode: 'pcap',
    workers: 1,
    describe: () => startWith(atWork.filters),
    fds: () => [],
    start: () => {},
    // The worker takes over plan and filters at once: nothing comes in between.
    prepare: (wanted) => {
      const next = isSameCapture(captured, wanted) ? atWork : filtersOf(wanted);
      return {
        describe: () => startWith(next.filters),
        commit: () => {
          captured = wanted;
          atWork = next;
          say(next);
        },
        undo: () => {},
      };
    },
    close: () => {},
  };
}
