"""A real server that reads PROXY protocol v2 by its specification: a plain UDP socket that echoes what stands behind the
header, to whom it came from. Prints {"event": "ready"}, and when standard input closes what it counted: datagrams with a
header and without, those with a LOCAL header, faults of headers, payloads that name another sender than the header, and the
addresses that headers name.
Argument, JSON: {"ip": "10.2.0.11", "port": 6000}"""
import json
import os
import select
import socket
import sys

import payload

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
SO_RCVBUFFORCE = 33  # also above net.core.rmem_max
KEPT = 400  # clients that are reported

options = json.loads(sys.argv[1])
sock = socket.socket(payload.family(options["ip"]), socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
sock.bind((options["ip"], options["port"]))
sock.setblocking(False)

stats = {"headed": 0, "plain": 0, "local": 0, "faults": 0, "attributed": 0, "wrong": 0, "empty": 0}
clients = {}  # LIP:lport -> client, of the last header
virtuals = set()
sizes = {}  # length of a payload -> count


def fault(text):
    stats["faults"] += 1
    print(f"proxied.py: {text}", file=sys.stderr)


def body(data, local):
    """What stands behind the header, if there is one; None where it is not as it must be."""
    if not data.startswith(SIGNATURE):
        stats["plain"] += 1
        return data
    command, over, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command == 0x20:
        stats["local"] += 1
        return data[16 + length :]
    size = {0x12: 4, 0x22: 16}.get(over)
    if command != 0x21 or size is None or length != 2 * size + 4:
        return fault(f"header {data[:16].hex()}")
    stats["headed"] += 1
    source, destination, ports = data[16 : 16 + size], data[16 + size : 16 + 2 * size], data[16 + 2 * size :][:4]
    clients[local] = payload.text(source, int.from_bytes(ports[:2], "big"))
    virtuals.add(payload.text(destination, int.from_bytes(ports[2:], "big")))
    return data[16 + length :]


def receive():
    data, source = sock.recvfrom(65536)
    local = payload.text(*source[:2])
    own = body(data, local)
    if own is None:
        return
    sizes[len(own)] = sizes.get(len(own), 0) + 1
    if not own:
        stats["empty"] += 1
    named = payload.sender(own)
    if named is not None:
        stats["attributed" if clients.get(local) == named else "wrong"] += 1
    sock.sendto(own, source)


print(json.dumps({"event": "ready"}), flush=True)
poll = select.poll()
poll.register(sock, select.POLLIN)
poll.register(0, select.POLLIN)
stopped = False
while not stopped:
    for fd, _ in poll.poll():
        if fd == 0:
            stopped = os.read(0, 4096) == b""
            continue
        while True:
            try:
                receive()
            except BlockingIOError:
                break
known = sorted(set(clients.values()))[:KEPT]
result = {"event": "result", **stats, "clients": known, "virtuals": sorted(virtuals), "sizes": sizes}
print(json.dumps(result), flush=True)
