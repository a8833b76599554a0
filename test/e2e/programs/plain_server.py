"""A UDP server as anybody would write it: recvfrom, sendto to whom it came from. It knows of no UOA and sets no option but
a larger buffer. The tests' clients say in the payload who they are: that is held against what recvfrom returned. Prints
{"event": "ready"}, and when standard input closes what it counted.
Argument, JSON: {"ip": "10.2.0.11", "port": 6000, "family": 4, "isDual": false, "peers": true}"""
import json
import os
import select
import socket
import sys

import payload

SO_RCVBUFFORCE = 33
KEPT = 20

options = json.loads(sys.argv[1])
ip = options["ip"]
family = socket.AF_INET6 if options.get("isDual") else payload.family(ip)
sock = socket.socket(family, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
if options.get("isDual"):
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    ip = "::" if ip == "::" else f"::ffff:{ip}"
sock.bind((ip, options["port"]))
sock.setblocking(False)

stats = {"received": 0, "empty": 0, "attributed": 0, "wrong": 0, "unnamed": 0}
clients = set()
others = {}
print(json.dumps({"event": "ready"}), flush=True)

epoll = select.epoll()
epoll.register(sock.fileno(), select.EPOLLIN)
epoll.register(0, select.EPOLLIN)
is_open = True
while is_open:
    for fd, _ in epoll.poll():
        if fd == 0:
            is_open = os.read(0, 4096) != b""
            continue
        for _ in range(64):
            try:
                data, source = sock.recvfrom(65536)
            except BlockingIOError:
                break
            stats["received"] += 1
            stats["empty"] += len(data) == 0
            sender = payload.sender(data)
            seen = payload.text(source[0].removeprefix("::ffff:"), source[1])
            clients.add(seen)
            if sender is None:
                stats["unnamed"] += 1
            elif sender == seen:
                stats["attributed"] += 1
            else:
                stats["wrong"] += 1
                if len(others) < KEPT:
                    others[sender] = seen
            sock.sendto(data, source)
print(json.dumps({"event": "result", **stats, "clients": len(clients), "others": others}), flush=True)
