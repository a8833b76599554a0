// What an attacker sends to make a host's kernel believe in a narrow path: an ICMP error about a ping packet
// that it never sent.

import { type Cleanup, sh, startProgram } from '../io/namespaces.ts';
import { icmp4 } from '../packets/builder.ts';
import { icmp6 } from '../packets/builder6.ts';

export interface Lie {
  /** The attacker's namespace, and its interface on a link with the host. */
  ns: string;
  device: string;
  /** The host's namespace, and its interface on that link. */
  host: string;
  hostDevice: string;
  /** Addresses of an attacker, of the host, and of whom the path leads to. */
  attacker: string;
  own: string;
  towards: string;
  mtu: number;
}

/** Sends the lie, and resolves when the kernel of the host believes it; fails when it does not. */
export async function forgePathMtu(t: Cleanup, lie: Lie): Promise<void> {
  const { ns, device, host, hostDevice, attacker, own, towards, mtu } = lie;
  const isIpv6 = own.includes(':');
  // Of IPv4 an answer, which the kernel takes for its own; over IPv6 any ping will do.
  const ping = { src: own, dst: towards, type: isIpv6 ? 128 : 0, code: 0, rest: 0x00010001 };
  const error = { src: attacker, dst: own, rest: mtu };
  const packet = isIpv6
    ? icmp6({ ...error, type: 2, code: 0, body: icmp6({ ...ping, body: new Uint8Array(1192) }) })
    : icmp4({ ...error, type: 3, code: 4, body: icmp4({ ...ping, df: true, body: new Uint8Array(520) }) });
  const { address } = (
    JSON.parse(sh(`ip -n ${host} -j link show ${hostDevice}`)) as { address: string }[]
  )[0];
  const link = `${address.replaceAll(':', '')}020000000099${isIpv6 ? '86dd' : '0800'}`;
  const frames = [link + Buffer.from(packet).toString('hex')];
  await startProgram(t, ns, 'io/frame-program.ts', { device, frames }).next('done');
  for (let tries = 0; !sh(`ip -n ${host} route get ${towards}`).includes('expires'); tries++) {
    if (tries === 100) throw new Error(`the kernel of ${host} believes no path MTU of ${mtu} to ${towards}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
