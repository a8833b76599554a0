// tcpdump at an interface of a namespace, and tshark on what it captured: witnesses from outside, who know
// nothing of src/.
import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Role, Topology } from '../../src/lab/topology.ts';

const UDP = 17;

export class Witness {
  readonly #child: ChildProcess;
  readonly #path: string;

  /** Use Rig.watch. */
  constructor(child: ChildProcess, path: string) {
    this.#child = child;
    this.#path = path;
  }

  /** Ends the capture. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    // What tcpdump has not read yet when it is told to end is lost: it must wait for more, and have written
    // nothing since.
    const waits = () => / S /.test(readFileSync(`/proc/${this.#child.pid}/stat`, 'latin1'));
    for (let size = -1; size !== statSync(this.#path).size || !waits(); await sleep(300))
      size = statSync(this.#path).size;
    this.#child.kill('SIGINT');
    await once(this.#child, 'exit');
  }

  /** One line per captured packet that matches tshark's display filter, at most 20 of `count`. */
  async matching(displayFilter: string): Promise<{ count: number; lines: string[] }> {
    const lines = await this.#tshark('-Y', displayFilter);
    return { count: lines.length, lines: lines.slice(0, 20) };
  }

  /**
   * UDP datagrams whose checksum verifies, those whose checksum is the part that a sender leaves its card to
   * finish, and packets where that of UDP or of the IPv4 header is neither.
   */
  async checksums(): Promise<{ good: number; unfinished: number; bad: number }> {
    const fields = [...ADDRESSES, 'udp.length', 'udp.checksum', 'udp.checksum.status', 'ip.checksum.status'];
    const options = fields.flatMap((field) => ['-e', field]);
    const lines = await this.#tshark('-Y', 'udp', '-T', 'fields', '-E', 'separator=,', ...options);
    const count = { good: 0, unfinished: 0, bad: 0 };
    for (const line of lines) {
      const values = line.split(',');
      const [length, checksum, ofUdp, ofIp] = values.slice(ADDRESSES.length);
      const addresses = values.slice(0, ADDRESSES.length).filter(Boolean);
      // tshark: 0 is bad, 1 good; the others are not there, or cannot be told.
      if (ofUdp === '1' && ofIp !== '0') count.good++;
      else if (ofIp === '0') count.bad++;
      else if (ofUdp === '0')
        count[Number(checksum) === unfinishedSum(addresses, Number(length)) ? 'unfinished' : 'bad']++;
    }
    if (count.bad > 0) {
      const which = 'ip.checksum.status == 0 or udp.checksum.status == 0';
      console.log((await this.#tshark('-Y', which, '-c', '3', '-V', '-x')).slice(0, 200).join('\n'));
    }
    return count;
  }

  /** Fails when a captured packet has a wrong checksum, and shows it; unfinished ones are none. */
  async noBadChecksum(): Promise<void> {
    assert.equal((await this.checksums()).bad, 0, 'no checksum is wrong');
  }

  async #tshark(...options: string[]): Promise<string[]> {
    await this.stop();
    const checks = ['-o', 'ip.check_checksum:TRUE', '-o', 'udp.check_checksum:TRUE'];
    const argv = ['-n', '-r', this.#path, ...checks, ...options];
    const result = spawnSync('tshark', argv, { encoding: 'utf8', maxBuffer: 1 << 28 });
    assert.equal(result.status, 0, `tshark: ${result.stderr}`);
    return result.stdout.split('\n').filter(Boolean);
  }

  /** Fails when a captured packet matches, and shows it. */
  async none(displayFilter: string, message: string): Promise<void> {
    const { count, lines } = await this.matching(displayFilter);
    assert.equal(count, 0, `${message}:\n${lines.join('\n')}`);
  }
}

/** Fields of tshark, of which those of a packet's family are there. */
const ADDRESSES = ['ip.src', 'ip.dst', 'ipv6.src', 'ipv6.dst'];

/** Of the pseudo-header (RFC 768, RFC 8200 8.1) alone. */
function unfinishedSum(addresses: readonly string[], length: number): number {
  let sum = UDP + length;
  for (const address of addresses) {
    const bytes = addressBytes(address);
    for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

function addressBytes(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number));
  const [head, tail = ''] = address.split('::').map((part) => part.split(':').filter(Boolean));
  const groups = [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail];
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex');
}

let captures = 0;

/** See Rig.watch. */
export async function watch(
  topology: Topology,
  role: Role,
  device: string,
  filter: string,
  direction: string,
  snapLen: number,
) {
  const path = join(topology.scratch, `capture-${captures++}.pcap`);
  const file = openSync(path, 'w');
  // Written by descriptor, because tcpdump gives up its privileges before it opens a file.
  const argv = [
    'tcpdump',
    '-i',
    device,
    '-n',
    '--immediate-mode',
    '-U',
    '-B',
    '65536',
    '-s',
    String(snapLen),
    '-Q',
    direction,
    '-w',
    '-',
    filter,
  ];
  const child = topology.spawn(role, argv, { stdio: ['ignore', file, 'pipe'] });
  closeSync(file);
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (chunk) => {
      said += chunk;
      if (said.includes('listening on')) resolve();
    });
    child.once('exit', () => reject(new Error(`tcpdump on ${device}: ${said}`)));
  });
  return new Witness(child, path);
}
