"""A real server that knows nothing of this project: a UDP socket that asks the kernel for the IP options of each datagram
(IP_RECVOPTS), learns from a UOA who the client is, and echoes. No echo ACK. Prints {"event": "ready"}, and when standard
input closes what it counted. Argument: {"ip": "10.2.0.11", "port": 6000} as JSON."""
import json
import os
import select
import socket
import sys

import payload

IP_RECVOPTS = 6
OPTION_UOA = 31
UOA_LEN = 8
KEPT = 200  # distinct option bytes and clients that are reported

options = json.loads(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
sock.setsockopt(socket.IPPROTO_IP, IP_RECVOPTS, 1)
sock.bind((options["ip"], options["port"]))
sock.setblocking(False)

stats = {"received": 0, "empty": 0, "uoas": 0, "attributed": 0, "unattributed": 0, "wrong": 0}
clients = {}  # (LIP, lport) -> (CIP as 4 bytes, cport)
seen_options = {}  # hexadecimal -> count
sizes = {}  # payload length -> count


def uoa(raw):
    """(CIP, cport) of the first UOA among raw IP options, or None."""
    at = 0
    while at < len(raw):
        kind = raw[at]
        if kind == 0:
            return None
        if kind == 1:
            at += 1
            continue
        length = raw[at + 1]
        if kind == OPTION_UOA and length == UOA_LEN:
            return raw[at + 4 : at + 8], int.from_bytes(raw[at + 2 : at + 4], "big")
        at += length
    return None


def receive():
    data, control, _, source = sock.recvmsg(65536, 256)
    for level, kind, raw in control:
        if level == socket.IPPROTO_IP and kind == IP_RECVOPTS and raw:
            text = raw.hex()
            if text in seen_options or len(seen_options) < KEPT:
                seen_options[text] = seen_options.get(text, 0) + 1
            client = uoa(raw)
            if client is not None:
                stats["uoas"] += 1
                clients[source] = client
    stats["received"] += 1
    sizes[len(data)] = sizes.get(len(data), 0) + 1
    if not data:
        stats["empty"] += 1
    named = payload.sender(data)
    if named is not None:
        known = clients.get(source)
        stats["unattributed" if known is None else "attributed" if known == named else "wrong"] += 1
    sock.sendto(data, source)


def text(client):
    return "%s:%d" % (socket.inet_ntoa(client[0]), client[1])


print(json.dumps({"event": "ready"}), flush=True)
poll = select.poll()
poll.register(sock, select.POLLIN)
poll.register(0, select.POLLIN)
stopped = False
while not stopped:
    for fd, _ in poll.poll():
        if fd == 0:
            stopped = os.read(0, 4096) == b""
        else:
            try:
                for _ in range(256):
                    receive()
            except BlockingIOError:
                pass
            except ConnectionRefusedError:
                stats["refused"] = stats.get("refused", 0) + 1

print(
    json.dumps(
        {
            "event": "result",
            **stats,
            "learned": len(clients),
            "distinctClients": len(set(clients.values())),
            "clients": {f"{ip}:{port}": text(client) for (ip, port), client in list(clients.items())[:KEPT]},
            "options": seen_options,
            "sizes": sizes,
        }
    ),
    flush=True,
)
