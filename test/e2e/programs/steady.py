"""Open loop: sends `rate` datagrams per second, whatever becomes of them, from `addresses` x `portsPerAddress` sockets in
turn, until standard input closes; then waits `waitMs` for late answers. A line on standard input is a mark: what was sent
after the last one is counted also by itself. Prints {"event": "ready"}, then what it counted; `refused` are those of `sent`
that its own host did not take, `longestGapMs` is the longest time between two answers. Argument, JSON: {"addresses": [..],
"portsPerAddress": 4, "vip": "..", "vport": 6000, "rate": 1000, "waitMs": 1000, "firstPort": 20000}; without firstPort the
kernel chooses ports."""
import json
import os
import select
import socket
import sys
import time

import payload

SIZE = 64

options = json.loads(sys.argv[1])


first_port = options.get("firstPort")


def opened(address, index):
    sock = socket.socket(payload.family(address), socket.SOCK_DGRAM)
    sock.bind((address, first_port + index if first_port else 0))
    sock.connect((options["vip"], options["vport"]))
    sock.setblocking(False)
    return sock


sockets = [opened(address, index) for address in options["addresses"] for index in range(options["portsPerAddress"])]
names = [sock.getsockname()[:2] for sock in sockets]
epoll = select.epoll()
for sock in sockets:
    epoll.register(sock.fileno(), select.EPOLLIN)
epoll.register(0, select.EPOLLIN)
by_fd = {sock.fileno(): number for number, sock in enumerate(sockets)}
awaited = [{} for _ in sockets]  # datagram -> its number
stats = {"sent": 0, "refused": 0, "answered": 0, "unexpected": 0, "answeredAfterMark": 0}
mark = 0
last_answer = None
longest_gap = 0.0
print(json.dumps({"event": "ready"}), flush=True)


def send():
    number = stats["sent"]
    at = number % len(sockets)
    datagram = payload.make(SIZE, number, *names[at])
    awaited[at][datagram] = number
    stats["sent"] += 1
    try:
        sockets[at].send(datagram)
    except OSError:  # that of an ICMP error to an earlier one, for which the kernel does not send this one, or no way there
        stats["refused"] += 1


def receive(at):
    global last_answer, longest_gap
    try:
        number = awaited[at].pop(sockets[at].recv(65536), None)
    except OSError:
        return
    if number is None:
        stats["unexpected"] += 1
        return
    now = time.monotonic()
    if last_answer is not None:
        longest_gap = max(longest_gap, now - last_answer)
    last_answer = now
    stats["answered"] += 1
    if number >= mark:
        stats["answeredAfterMark"] += 1


started = time.monotonic()
end = None
while end is None or (stats["answered"] < stats["sent"] and time.monotonic() < end):
    due = int((time.monotonic() - started) * options["rate"]) if end is None else 0
    while stats["sent"] < due:
        send()
    for fd, _ in epoll.poll(0.001):
        if fd != 0:
            receive(by_fd[fd])
        elif os.read(0, 4096) == b"":
            epoll.unregister(0)
            end = time.monotonic() + options["waitMs"] / 1000
        else:
            mark = stats["sent"]
            stats["answeredAfterMark"] = 0
stats["lost"] = sum(len(datagrams) for datagrams in awaited)
stats["lostAfterMark"] = sum(number >= mark for datagrams in awaited for number in datagrams.values())
print(json.dumps({"event": "result", **stats, "sentAfterMark": stats["sent"] - mark, "longestGapMs": round(longest_gap * 1000)}), flush=True)
