// Adds addresses to interfaces and removes them (rtnetlink(7), RTM_NEWADDR and RTM_DELADDR), many with one
// message to the kernel.
import { setImmediate as turnOfOthers } from 'node:timers/promises';
import { AF_INET, AF_INET6, IFA, MESSAGE } from '../route/rtnetlink.ts';
import { IoError } from '../sys/io-error.ts';
import { if_nametoindex, SysError } from '../sys/libc.ts';
import { explainNetlink, NetlinkSocket, NOTHING, OVERRUN } from '../sys/netlink.ts';
import { eachMessage, FLAG, failureIn, isEnd, message, NetlinkError } from '../sys/netlink-messages.ts';
import { addressBytes, familyOf } from '../wire/address.ts';
import { startHint } from './child-failure.ts';

/** An address of a host, and the name of the interface. */
export interface AddressOn {
  ip: string;
  device: string;
}

/**
 * IFA_F_NODAD: the address is said to be free; while the kernel looks for another host with it, it does not
 * answer for it.
 */
const WITHOUT_DETECTION = 2;
const ENODEV = 19;
const ENOBUFS = 105;
const MESSAGES_PER_BATCH = 128;
/** An answer takes about 1 KiB of it; without CAP_NET_ADMIN it has 208 KiB (net.core.rmem_max). */
const BUFFER_BYTES = 1 << 20;
const SCOPE_UNIVERSE = 0;
const SCOPE_HOST = 254;

/** Why an address cannot be added, and what to do about it. */
export interface Refusal {
  ip: string;
  text: string;
  hint: string;
}

/** The command that does what addAddresses does, for a person. */
export function addAddressCommand(address: string, device: string): string {
  const words = ['ip', 'address', 'add', asHost(address), 'dev', device];
  return [...words, ...(familyOf(address) === 6 ? ['nodad', 'preferred_lft', '0'] : [])].join(' ');
}

/** The address as the subnet that has no other: `10.0.0.1/32`, `fd00::1/128`. */
function asHost(address: string): string {
  return `${address}/${familyOf(address) === 6 ? 128 : 32}`;
}

/**
 * Adds the addresses that can be added, and tells which and why others cannot. Throws an IoError with nothing
 * added.
 */
export async function addAddresses<T extends AddressOn>(
  list: readonly T[],
): Promise<{ added: T[]; refused: Refusal[] }> {
  const indexOf = interfaceIndexes(list);
  const outcomes = await change(
    list.map((one) =>
      addressMessage(MESSAGE.newAddress, FLAG.create | FLAG.exclusive, one, indexOf.get(one.device)!),
    ),
  );
  const refused = list.flatMap((one, index) => {
    const failure = indexOf.get(one.device) === 0 ? NO_DEVICE : outcomes[index];
    return failure === undefined ? [] : [notAdded(one, failure)];
  });
  const isRefused = new Set(refused.map(({ ip }) => ip));
  return { added: list.filter(({ ip }) => !isRefused.has(ip)), refused };
}

const NO_DEVICE = new NetlinkError(ENODEV);

/**
 * Removes addresses; one that is not there any more, or whose interface is gone, is no error. Throws an
 * IoError of the first.
 */
export async function takeAddresses(list: readonly AddressOn[]): Promise<void> {
  const indexOf = interfaceIndexes(list);
  const there = list.filter(({ device }) => indexOf.get(device) !== 0);
  const outcomes = await change(
    there.map((one) => addressMessage(MESSAGE.deleteAddress, 0, one, indexOf.get(one.device)!)),
  );
  for (const [index, failure] of outcomes.entries())
    if (failure !== undefined && !GONE.has(failure.code)) throw notRemoved(there[index], failure);
}

const GONE: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'ENODEV']);

/** With one outcome for each: the failure, undefined where it was done. Throws an IoError. */
async function change(messages: readonly Buffer[]): Promise<(NetlinkError | undefined)[]> {
  const socket = openSocket();
  const outcomes: (NetlinkError | undefined)[] = [];
  try {
    for (let at = 0; at < messages.length; at += MESSAGES_PER_BATCH) {
      if (at > 0) await turnOfOthers();
      // The kernel has done all, and answered to each in their order, when the call returns.
      socket.send(Buffer.concat(messages.slice(at, at + MESSAGES_PER_BATCH)));
      while (outcomes.length < Math.min(at + MESSAGES_PER_BATCH, messages.length)) {
        const length = socket.receive();
        if (length === NOTHING || length === OVERRUN) throw new NetlinkError(ENOBUFS);
        eachMessage(socket.view, length, (type, view, off, end) => {
          if (isEnd(type)) outcomes.push(failureIn(type, view, off, end));
          return true;
        });
      }
    }
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    while (outcomes.length < messages.length) outcomes.push(new NetlinkError(error.errno));
  } finally {
    socket.close();
  }
  return outcomes;
}

function openSocket(): NetlinkSocket {
  try {
    return new NetlinkSocket([], BUFFER_BYTES);
  } catch (error) {
    const hint = error instanceof SysError ? startHint(error.code) : undefined;
    throw explainNetlink('addresses cannot be changed', error, hint);
  }
}

/** By name; 0 for one that is not there. */
function interfaceIndexes(list: readonly AddressOn[]): ReadonlyMap<string, number> {
  return new Map([...new Set(list.map(({ device }) => device))].map((name) => [name, if_nametoindex(name)]));
}

/** The body is struct ifaddrmsg: family (1), prefix length (1), flags (1), scope (1), index (4). */
function addressMessage(type: number, flags: number, { ip }: AddressOn, index: number): Buffer {
  const isIpv6 = familyOf(ip) === 6;
  const body = Buffer.alloc(8);
  body[0] = isIpv6 ? AF_INET6 : AF_INET;
  body[1] = isIpv6 ? 128 : 32;
  body[2] = isIpv6 ? WITHOUT_DETECTION : 0;
  body[3] = ip.startsWith('127.') ? SCOPE_HOST : SCOPE_UNIVERSE;
  body.writeInt32LE(index, 4);
  const value = addressBytes(ip).subarray(isIpv6 ? 0 : 12);
  return message(type, FLAG.acknowledge | flags, body, [
    { type: IFA.local, value },
    { type: IFA.address, value },
    ...(isIpv6 ? [{ type: IFA.cacheInfo, value: NEVER_CHOSEN }] : []),
  ]);
}

/**
 * Preferred for 0 s, valid for ever (struct ifa_cacheinfo), for IPv6: a host that has another address does
 * not choose it for what it sends of its own. It would choose a /128 before an address of the link's prefix
 * (ipv6_get_saddr_eval), and the guard drops what then comes back, as answers to health checks.
 */
const NEVER_CHOSEN = Buffer.alloc(16);
NEVER_CHOSEN.writeUInt32LE(0xffff_ffff, 4);

const NO_RIGHT = 'changing addresses needs CAP_NET_ADMIN: run as root, or add the addresses yourself';

function notAdded({ ip, device }: AddressOn, failure: NetlinkError): Refusal {
  const hints: Record<string, string> = {
    EPERM: NO_RIGHT,
    EACCES: `IPv6 is turned off on the interface; to turn it on: sysctl net.ipv6.conf.${device}.disable_ipv6=0`,
    EEXIST: `somebody added it a moment ago: ip address show dev ${device}`,
  };
  return {
    ip,
    text: `cannot add the address ${ip} to ${device}: ${why(device, failure)}`,
    hint: hints[failure.code] ?? `the command for it: ${addAddressCommand(ip, device)}`,
  };
}

function notRemoved({ ip, device }: AddressOn, failure: NetlinkError): IoError {
  return new IoError(
    `cannot remove the address ${ip} from ${device}: ${why(device, failure)}`,
    failure.code === 'EPERM' ? NO_RIGHT : `the command for it: ip address delete ${asHost(ip)} dev ${device}`,
  );
}

const why = (device: string, failure: NetlinkError): string =>
  failure.code === 'ENODEV'
    ? `there is no interface ${device}`
    : [failure.code, failure.words].filter((said) => said !== '').join(', ');
