"""What a datagram of these tests carries: who sent it. Big endian: magic 4, sequence 4, CIP 16 (IPv4 in its mapped form),
cport 2, then a pattern that depends on the sequence, so that no two datagrams of a client are alike."""
import socket
import struct

MAGIC = 0x754F4131
MARK = struct.Struct("!II16sH")
_PATTERN = bytes((i * 167 + 13) & 0xFF for i in range(256)) * 260


def family(ip):
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def packed(ip):
    """The address in 16 bytes, IPv4 in its mapped form."""
    if ":" in ip:
        return socket.inet_pton(socket.AF_INET6, ip)
    return bytes(10) + b"\xff\xff" + socket.inet_aton(ip)


def text(ip, port):
    """ip:port as it is written, of an address as text, as 4 or as 16 bytes."""
    if isinstance(ip, bytes):
        if len(ip) == 16 and ip.startswith(bytes(10) + b"\xff\xff"):
            ip = ip[12:]
        ip = socket.inet_ntop(socket.AF_INET6 if len(ip) == 16 else socket.AF_INET, ip)
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def make(size, sequence, ip, port):
    """Payload of `size` bytes; below MARK.size bytes it does not name its sender."""
    start = sequence % 251
    if size < MARK.size:
        return _PATTERN[start : start + size]
    return MARK.pack(MAGIC, sequence, packed(ip), port) + _PATTERN[start : start + size - MARK.size]


def sender(payload):
    """The sender that a payload names, as text, or None."""
    if len(payload) < MARK.size:
        return None
    magic, _, ip, port = MARK.unpack_from(payload)
    return text(ip, port) if magic == MAGIC else None
