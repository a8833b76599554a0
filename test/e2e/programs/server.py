"""A real server that knows nothing of this project: a UDP socket that asks the kernel for the IP options of each datagram
(IP_RECVOPTS; over IPv6 the destination options, IPV6_RECVDSTOPTS), learns from a UOA who the client is, and echoes. No echo
ACK. Prints {"event": "ready"}, and when standard input closes what it counted; `unattributedMost` are those of the client
that has most.
Argument, JSON: {"ip": "10.2.0.11", "port": 6000}"""
import json
import os
import select
import socket
import sys

import payload

IP_RECVOPTS, IPV6_RECVDSTOPTS, IPV6_DSTOPTS = 6, 58, 59
CARRIED_BY = {(socket.IPPROTO_IP, IP_RECVOPTS), (socket.IPPROTO_IPV6, IPV6_DSTOPTS)}
OPTIONS_UOA = (31, 30)
SO_RCVBUFFORCE = 33  # also above net.core.rmem_max
KEPT = 200  # distinct option bytes and clients that are reported

options = json.loads(sys.argv[1])
family = payload.family(options["ip"])
sock = socket.socket(family, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
if family == socket.AF_INET6:
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVDSTOPTS, 1)
else:
    sock.setsockopt(socket.IPPROTO_IP, IP_RECVOPTS, 1)
sock.bind((options["ip"], options["port"]))
sock.setblocking(False)

stats = {"received": 0, "empty": 0, "uoas": 0, "attributed": 0, "unattributed": 0, "wrong": 0}
clients = {}  # (LIP, lport) -> CIP:cport
unattributed = {}  # CIP:cport -> count
virtuals = set()  # VIP:vport
forms = {}  # option type and length of its content -> count
seen_options = {}  # hexadecimal -> count
sizes = {}  # payload length -> count


def each_option(raw):
    """(type, content) of IP options, or of the options in a destination options header."""
    is_header = family == socket.AF_INET6
    at = 2 if is_header else 0
    while at < len(raw):
        kind = raw[at]
        if kind == 0 and not is_header:
            return
        if kind == (0 if is_header else 1):
            at += 1
            continue
        # The length counts type and length themselves in IPv4, not in IPv6.
        end = at + raw[at + 1] + (2 if is_header else 0)
        yield kind, raw[at + 2 : end]
        at = end


def uoa(raw):
    """(client, virtual address or None, form) of the first UOA, or None."""
    for kind, content in each_option(raw):
        if kind not in OPTIONS_UOA:
            continue
        form = f"{kind}/{len(content)}"
        if family == socket.AF_INET and len(content) in (14, 38):
            if content[:2] != (b"\0\0" if len(content) == 14 else b"\1\0"):
                continue
            content = content[2:]
        port = int.from_bytes(content[:2], "big")
        if len(content) in (6, 18):
            return payload.text(content[2:], port), None, form
        if len(content) in (12, 36):
            half = (len(content) - 4) // 2
            vport = int.from_bytes(content[2:4], "big")
            return payload.text(content[4 : 4 + half], port), payload.text(content[4 + half :], vport), form
    return None


def receive():
    data, control, _, source = sock.recvmsg(65536, 256)
    local = source[:2]
    for level, kind, raw in control:
        if (level, kind) in CARRIED_BY and raw:
            hexadecimal = raw.hex()
            if hexadecimal in seen_options or len(seen_options) < KEPT:
                seen_options[hexadecimal] = seen_options.get(hexadecimal, 0) + 1
            found = uoa(raw)
            if found is not None:
                client, virtual, form = found
                stats["uoas"] += 1
                clients[local] = client
                forms[form] = forms.get(form, 0) + 1
                if virtual is not None:
                    virtuals.add(virtual)
    stats["received"] += 1
    sizes[len(data)] = sizes.get(len(data), 0) + 1
    if not data:
        stats["empty"] += 1
    named = payload.sender(data)
    if named is not None:
        known = clients.get(local)
        stats["unattributed" if known is None else "attributed" if known == named else "wrong"] += 1
        if known is None:
            unattributed[named] = unattributed.get(named, 0) + 1
    sock.sendto(data, source)


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
            except OSError as error:  # an ICMP error about a reply
                key = os.strerror(error.errno)
                stats[key] = stats.get(key, 0) + 1

print(
    json.dumps(
        {
            "event": "result",
            **stats,
            "unattributedMost": max(unattributed.values(), default=0),
            "learned": len(clients),
            "distinctClients": len(set(clients.values())),
            "clients": {payload.text(*local): client for local, client in list(clients.items())[:KEPT]},
            "virtuals": sorted(virtuals),
            "forms": forms,
            "options": seen_options,
            "sizes": sizes,
        }
    ),
    flush=True,
)
