"""Clients that ask servers who name them in their answers (examples/): each socket asks until the answer is its own address
and what it sent, as often as it takes, because datagrams may be lost on a busy machine, and a server that was just started
may not know yet. Prints {"event": "ready"}, and at the end how many were named right, and every other answer.
Argument, JSON: {"to": [[VIP, vport, sockets], ...], "addresses": [...], "sizes": [...], "seconds": 60}
Further lines of standard input {"do": "ask"} ask once more with the same sockets."""
import json
import select
import socket
import sys
import time

options = json.loads(sys.argv[1])
RETRY_S = 1.0


def name(ip, port):
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


socks = []
for vip, vport, count in options["to"]:
    is_ipv6 = ":" in vip
    own = [ip for ip in options["addresses"] if (":" in ip) == is_ipv6]
    for n in range(count):
        sock = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((own[n % len(own)], 0))
        sock.connect((vip, vport))
        sock.setblocking(False)
        socks.append(sock)


def payload(number, size):
    return (f"{number}." * (size // 2 + 1))[:size].encode()


def ask(number, size):
    """Every socket at once; what is not answered right is asked again."""
    wrong = {}
    right = 0
    waiting = {sock.fileno(): sock for sock in socks}
    expected = {fd: name(*sock.getsockname()[:2]).encode() + b" " + payload(number, size) for fd, sock in waiting.items()}
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    again = 0
    end = time.monotonic() + options.get("seconds", 60)
    while waiting and time.monotonic() < end:
        if time.monotonic() >= again:
            again = time.monotonic() + RETRY_S
            for sock in waiting.values():
                try:
                    sock.send(payload(number, size))
                except OSError:
                    pass  # an ICMP error: the server is not there yet
        for fd, _ in poll.poll(100):
            sock = next(one for one in socks if one.fileno() == fd)
            try:
                answer = sock.recv(65535)
            except OSError:
                continue
            if fd in waiting and answer == expected[fd]:
                right += 1
                del waiting[fd]
            elif answer != expected[fd]:
                text = f"{expected[fd][:60].decode()} <- {answer[:60].decode('latin1')}"
                wrong[text] = wrong.get(text, 0) + 1
    missing = [expected[fd][:60].decode() + f" of {sock.getpeername()[:2]}" for fd, sock in waiting.items()]
    return {"right": right, "missing": missing, "wrong": wrong}


print(json.dumps({"event": "ready"}), flush=True)
number = 0
for line in sys.stdin:
    command = json.loads(line)
    number += 1
    print(json.dumps({"event": "asked", **ask(number, command["size"])}), flush=True)
print(json.dumps({"event": "result"}), flush=True)
