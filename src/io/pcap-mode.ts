// Packet I/O through libpcap as a mode (io-mode.ts): the one worker opens everything itself, and the control
// plane only makes the filters.
import { captureFilters, refusalBy } from './capture-program.ts';
import { filteredHost } from './filtered-host.ts';
import type { IoHost, IoMode, IoRequest } from './io-mode.ts';
import { pcapLacks } from './optional-package.ts';
import { openPcapIo, type PcapStart } from './pcap.ts';

const REMEDY = { because: '', instead: 'ring with CAP_BPF needs none' };

export const pcapMode: IoMode<PcapStart> = {
  name: 'pcap',
  workersMax: 1,
  lacks: pcapLacks,
  refusalOf: (capture) => refusalBy(() => captureFilters(capture, REMEDY)),
  openHost: (request) => openHost(request),
  open: ({ filters, bufferSize }, _fds, options) => openPcapIo({ ...options, filters, bufferSize }),
};

function openHost({ capture, bufferSize }: IoRequest): IoHost<PcapStart> {
  const lacks = pcapLacks();
  if (lacks !== undefined) throw lacks;
  return filteredHost('pcap', capture, REMEDY, () => ({
    startWith: (filters) => ({ mode: 'pcap', filters, bufferSize }),
    fds: [],
    start: () => {},
    close: () => {},
  }));
}
