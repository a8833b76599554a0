// Watches an interface from outside with tcpdump and reads the packets from its standard output as they come
// (pcap file format: 24 bytes of file header, 16 bytes before each packet; little or big endian as the host
// is).
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { ETHERNET_HEADER_LEN } from '../wire/ethernet.ts';
import type { Role, Topology } from './topology.ts';

const FILE_HEADER_LEN = 24;
const RECORD_HEADER_LEN = 16;
const MAGIC_LITTLE = 0xd4c3b2a1;

export interface CapturedPacket {
  device: string;
  /** Microseconds since 1970. */
  timeUs: number;
  /** From the IP header on. */
  bytes: Uint8Array;
}

export class Capture {
  readonly packets: CapturedPacket[] = [];
  readonly #child: ChildProcess;
  readonly #device: string;
  #pending: Buffer = Buffer.alloc(0);
  #headerSeen = false;
  #littleEndian = true;

  /** Use startCapture. */
  constructor(child: ChildProcess, device: string) {
    this.#child = child;
    this.#device = device;
    child.stdout?.on('data', (chunk: Buffer) => this.#read(chunk));
  }

  /** Ends the capture; `packets` is complete then. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGINT');
    await once(this.#child, 'close');
  }

  #read(chunk: Buffer): void {
    let data = Buffer.concat([this.#pending, chunk]);
    if (!this.#headerSeen && data.length >= FILE_HEADER_LEN) {
      this.#littleEndian = data.readUInt32BE(0) === MAGIC_LITTLE;
      this.#headerSeen = true;
      data = data.subarray(FILE_HEADER_LEN);
    }
    while (this.#headerSeen && data.length >= RECORD_HEADER_LEN) {
      const end = RECORD_HEADER_LEN + this.#uint32(data, 8);
      if (data.length < end) break;
      this.packets.push({
        device: this.#device,
        timeUs: this.#uint32(data, 0) * 1e6 + this.#uint32(data, 4),
        bytes: Uint8Array.from(data.subarray(RECORD_HEADER_LEN + ETHERNET_HEADER_LEN, end)),
      });
      data = data.subarray(end);
    }
    this.#pending = data;
  }

  #uint32(data: Buffer, off: number): number {
    return this.#littleEndian ? data.readUInt32LE(off) : data.readUInt32BE(off);
  }
}

/**
 * Starts watching an Ethernet device; resolves when tcpdump is listening, undefined when there is no tcpdump.
 * `filter` is a pcap filter expression.
 */
export async function startCapture(
  topology: Topology,
  role: Role,
  device: string,
  filter: string,
): Promise<Capture | undefined> {
  const argv = ['tcpdump', '-i', device, '-n', '-s', '0', '-U', '--immediate-mode', '-w', '-', filter];
  const child = topology.spawn(role, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  const capture = new Capture(child, device);
  let said = '';
  return await new Promise((resolve, reject) => {
    child.stderr?.on('data', (chunk) => {
      said += chunk;
      if (said.includes('listening on')) resolve(capture);
    });
    child.on('exit', () => {
      if (said.includes('No such file')) resolve(undefined);
      else reject(new Error(`tcpdump on ${device} ended: ${said.trim()}`));
    });
  });
}
