"""Builds IP packets byte by byte, for what no socket of the kernel's would send: UDP datagrams in fragments of any order,
and protocol 248. Both families; addresses as text."""
import itertools
import random
import socket
import struct

import payload

UDP, OPP, FRAGMENT = 17, 248, 44
# From anywhere: a piece that was left over from an earlier program must not fit a datagram of this one.
_ids = itertools.count(random.randrange(1, 0x8000))


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(src, sport, dst, dport, data):
    """A UDP datagram from its header on."""
    length = 8 + len(data)
    # The 0xffff of the mapped form adds nothing: one pseudo-header serves both families.
    pseudo = payload.packed(src) + payload.packed(dst) + struct.pack("!HH", UDP, length)
    header = struct.pack("!HHH", sport, dport, length)
    return header + struct.pack("!H", checksum(pseudo + header + b"\0\0" + data) or 0xFFFF) + data


def raw_socket(src):
    """Sends packets with their own IP header."""
    sock = socket.socket(payload.family(src), socket.SOCK_RAW, socket.IPPROTO_RAW)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    return sock


def whole(src, dst, datagram, options=b""):
    """The IP packet that carries `datagram` (from its UDP header on); `options` are IPv4 options, padded."""
    if payload.family(src) == socket.AF_INET6:
        header = struct.pack("!IHBB", 6 << 28, len(datagram), UDP, 64)
        return header + payload.packed(src) + payload.packed(dst) + datagram
    # The kernel fills in total length and checksum.
    version = 0x45 + len(options) // 4
    header = struct.pack("!BBHHHBBH", version, 0, 0, next(_ids) & 0xFFFF, 0, 64, UDP, 0)
    return header + socket.inet_aton(src) + socket.inet_aton(dst) + options + datagram


def fragments(src, dst, datagram, size):
    """IP packets that carry `datagram` (from its UDP header on), `size` bytes each (a multiple of 8)."""
    packet_id = next(_ids) & 0xFFFF
    made = []
    for at in range(0, len(datagram), size):
        part = datagram[at : at + size]
        more = at + size < len(datagram)
        if payload.family(src) == socket.AF_INET6:
            extension = struct.pack("!BBHI", UDP, 0, at | more, packet_id)
            header = struct.pack("!IHBB", 6 << 28, 8 + len(part), FRAGMENT, 64)
            header += payload.packed(src) + payload.packed(dst) + extension
        else:
            # The kernel fills in total length and checksum.
            header = struct.pack("!BBHHHBBH", 0x45, 0, 0, packet_id, (at >> 3) | (more << 13), 64, UDP, 0)
            header += socket.inet_aton(src) + socket.inet_aton(dst)
        made.append(header + part)
    return made


def in_order(order, packets):
    """The same packets as an unruly network delivers them."""
    if order == "reversed":
        return packets[::-1]
    if order == "first last":
        return packets[1:] + packets[:1]
    if order == "shuffled":
        return packets[1::2] + packets[::2]
    if order == "twice":
        return [packet for packet in packets for _ in range(2)]
    return packets
