"""What a datagram of these tests carries: who sent it. Big endian: magic 4, sequence 4, CIP 4, cport 2, then a pattern
that depends on the sequence, so that no two datagrams of a client are alike."""
import socket
import struct

MAGIC = 0x754F4131
MARK = struct.Struct("!II4sH")
_PATTERN = bytes((i * 167 + 13) & 0xFF for i in range(256)) * 16


def make(size, sequence, ip, port):
    """Payload of `size` bytes; below MARK.size bytes it does not name its sender."""
    start = sequence % 251
    if size < MARK.size:
        return _PATTERN[start : start + size]
    return MARK.pack(MAGIC, sequence, socket.inet_aton(ip), port) + _PATTERN[start : start + size - MARK.size]


def sender(payload):
    """(ip as 4 bytes, port) that a payload names, or None."""
    if len(payload) < MARK.size:
        return None
    magic, _, ip, port = MARK.unpack_from(payload)
    return (ip, port) if magic == MAGIC else None
