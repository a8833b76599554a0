// What the kernel itself does: DNAT and SNAT with connection tracking, and mere routing without any proxy,
// which is what latencies are compared with.

import { LIPS, PORT, RIP, VIP } from '../network.ts';
import { steerToForwarderCpu } from '../processors.ts';
import { SESSION_SECONDS, type Start } from './forwarder.ts';

const MAX_SESSIONS = 1_000_000;

export const kernelNat: Start = async (network) => {
  network.set({ 'net/ipv4/ip_forward': 1 });
  network.exec(
    ['nft', '-f', '-'],
    `table ip bench {
      chain pre { type nat hook prerouting priority dstnat; ip daddr ${VIP} udp dport ${PORT} dnat to ${RIP}:${PORT}; }
      chain post { type nat hook postrouting priority srcnat; ip daddr ${RIP} udp dport ${PORT} snat to ${LIPS[0]}-${LIPS.at(-1)}; }
    }`,
  );
  for (const lip of LIPS) network.exec(['ip', 'address', 'add', `${lip}/32`, 'dev', 'lan0']);
  network.set({
    'net/netfilter/nf_conntrack_udp_timeout': SESSION_SECONDS,
    'net/netfilter/nf_conntrack_udp_timeout_stream': SESSION_SECONDS,
  });
  return {
    name: 'kernel DNAT+SNAT',
    note: `nftables, conntrack; ${steerToForwarderCpu(network)}`,
    opensPerSecond: 100_000,
    maxSessions: MAX_SESSIONS,
    check() {},
    pids: () => [],
  };
};

/** No proxy at all: packets go to the real server's own address, and this machine routes them. */
export const routing: Start = async (network) => {
  network.set({ 'net/ipv4/ip_forward': 1 });
  return {
    name: 'direct',
    note: `no proxy: the machine in between only routes; ${steerToForwarderCpu(network)}`,
    dst: RIP,
    opensPerSecond: Number.POSITIVE_INFINITY,
    maxSessions: Number.POSITIVE_INFINITY,
    check() {},
    pids: () => [],
  };
};
