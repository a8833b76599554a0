// A UDP socket that is told of every ICMP error (IP_RECVERR, ip(7)): without that option a connected socket
// hears of an unreachable port, but not of an unreachable host or network.
import { bindSocket, check, close, setsockopt, socket } from './libc.ts';
import { writeSocketAddress } from './message.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM_CLOEXEC = 0x80002;
const SOL_IP = 0;
const IP_RECVERR = 11;
const SOL_IPV6 = 41;
const IPV6_RECVERR = 25;
const IPV6_V6ONLY = 26;

/**
 * A new descriptor, bound to a free port. It is for one error: the errors stay queued, and a descriptor with
 * an error polls as ready until it is closed. Throws a SysError.
 */
export function openUdpSocket(family: 4 | 6): number {
  const fd = check(socket(family === 6 ? AF_INET6 : AF_INET, SOCK_DGRAM_CLOEXEC, 0), 'socket');
  const on = Int32Array.of(1);
  try {
    const [level, option] = family === 6 ? [SOL_IPV6, IPV6_RECVERR] : [SOL_IP, IP_RECVERR];
    check(setsockopt(fd, level, option, on, 4), 'setsockopt IP_RECVERR');
    if (family === 6) check(setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, on, 4), 'setsockopt IPV6_V6ONLY');
    // Here, because whoever takes the descriptor over may set SO_REUSEADDR, and then two sockets could get
    // one port.
    const name = Buffer.alloc(28);
    check(bindSocket(fd, name, writeSocketAddress(name, 0, family === 6 ? '::' : '0.0.0.0', 0)), 'bind');
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}
