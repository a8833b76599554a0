"""Many UDP clients: each of `addresses` x `portsPerAddress` sockets has at most one datagram in flight, and at most
`window` of them together, so that the load follows what the path can carry. Nothing is sent twice: a loss stays a loss.
What is not answered within `timeoutMs` is missing, and the socket goes on with the next; an answer that comes all the same
takes it out of the missing again. With `untilClosed` it goes on until standard input closes. Prints {"event": "ready"},
then what it counted. Argument, JSON: {"addresses": [..], "portsPerAddress": 20, "vip": "..", "vport": 6000, "count": 100000, "window": 64, "sizes": [..], "timeoutMs": 5000, "noChecksum": false,
"firstPort": 20000}"""
import collections
import json
import math
import os
import select
import socket
import sys
import time

import payload

SO_NO_CHECK = 11
GIVE_UP = 100  # a path that lost this many is broken: waiting for the others would only take time

options = json.loads(sys.argv[1])
sizes = options["sizes"]
timeout = options.get("timeoutMs", 5000) / 1000
stats = {"sent": 0, "answered": 0, "altered": 0, "missing": 0, "unexpected": 0, "refused": 0, "named": 0}
losers = {}  # client -> datagrams that it lost


class Client:
    def __init__(self, address, port):
        self.sock = socket.socket(payload.family(address), socket.SOCK_DGRAM)
        if options.get("noChecksum"):
            self.sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        self.sock.bind((address, port))
        self.sock.connect((options["vip"], options["vport"]))
        self.sock.setblocking(False)
        self.ip, self.port = self.sock.getsockname()[:2]
        self.sequence = 0
        self.awaited = None
        self.overdue = []
        self.sent_at = 0.0

    def send(self, size):
        self.awaited = payload.make(size, self.sequence, self.ip, self.port)
        self.sequence += 1
        self.sent_at = time.monotonic()
        stats["sent"] += 1
        if size >= payload.MARK.size:
            stats["named"] += 1
        try:
            self.sock.send(self.awaited)
        except ConnectionRefusedError:
            stats["refused"] += 1
            self.sock.send(self.awaited)

    def give_up(self):
        stats["missing"] += 1
        name = payload.text(self.ip, self.port)
        losers[name] = losers.get(name, 0) + 1
        self.overdue.append(self.awaited)
        self.awaited = None

    def takes_late(self, reply):
        if reply not in self.overdue:
            return False
        self.overdue.remove(reply)
        stats["missing"] -= 1
        stats["answered"] += 1
        name = payload.text(self.ip, self.port)
        losers[name] -= 1
        if losers[name] == 0:
            del losers[name]
        return True


first_port = options.get("firstPort")
clients = [
    Client(address, first_port + index if first_port else 0)
    for address in options["addresses"]
    for index in range(options["portsPerAddress"])
]
by_fd = {client.sock.fileno(): client for client in clients}
epoll = select.epoll()
for fd in by_fd:
    epoll.register(fd, select.EPOLLIN)
idle = collections.deque(clients)
waiting = collections.OrderedDict()  # client -> None, oldest first
print(json.dumps({"event": "ready"}), flush=True)

closing = select.poll()
closing.register(0, select.POLLIN)
until_closed = options.get("untilClosed", False)
count = math.inf if until_closed else options["count"]
give_up = math.inf if until_closed else GIVE_UP
started = time.monotonic()
while (stats["sent"] < count or waiting) and stats["missing"] < give_up:
    if until_closed and count == math.inf and closing.poll(0) and os.read(0, 4096) == b"":
        count = stats["sent"]
    while idle and len(waiting) < options["window"] and stats["sent"] < count:
        client = idle.popleft()
        client.send(sizes[stats["sent"] % len(sizes)])
        waiting[client] = None
    for fd, _ in epoll.poll(0.2):
        client = by_fd[fd]
        try:
            reply = client.sock.recv(65536)
        except ConnectionRefusedError:
            stats["refused"] += 1
            continue
        if reply != client.awaited and client.takes_late(reply):
            continue
        if client.awaited is None:
            stats["unexpected"] += 1
            continue
        stats["answered"] += 1
        if reply != client.awaited:
            stats["altered"] += 1
        client.awaited = None
        del waiting[client]
        idle.append(client)
    now = time.monotonic()
    while waiting:
        oldest = next(iter(waiting))
        if now - oldest.sent_at < timeout:
            break
        oldest.give_up()
        del waiting[oldest]
        idle.append(oldest)
elapsed = time.monotonic() - started

# Copies and late replies would still be under way.
until = time.monotonic() + 0.3
while time.monotonic() < until:
    for fd, _ in epoll.poll(0.1):
        try:
            if not by_fd[fd].takes_late(by_fd[fd].sock.recv(65536)):
                stats["unexpected"] += 1
        except ConnectionRefusedError:
            stats["refused"] += 1
print(json.dumps({"event": "result", **stats, "losers": losers, "clients": len(clients), "seconds": round(elapsed, 2)}), flush=True)
