"""Clients of a name server that answers each question with the address of who asks. For each address and port in turn some
questions from one socket; each waits for its answer. Prints how many answers named the asker ("own"), named another one
("others", as text), refused ("refused") or did not come ("missing").
Argument, JSON: {"addresses": [...], "ports": 5, "questions": 4, "to": ["10.1.0.100", 6000], "name": "who.example",
"timeoutMs": 20000}"""
import json
import socket
import struct
import sys

import payload

A, AAAA, IN = 1, 28, 1
RECURSION_DESIRED = 0x0100

options = json.loads(sys.argv[1])
stats = {"own": 0, "refused": 0, "missing": 0}
others = set()


def question(number, kind):
    name = b"".join(bytes([len(label)]) + label.encode() for label in options["name"].split("."))
    return struct.pack("!HHHHHH", number, RECURSION_DESIRED, 1, 0, 0, 0) + name + b"\0" + struct.pack("!HH", kind, IN)


def judge(answer, asked, number, address):
    got, flags, _, answers, _, _ = struct.unpack("!HHHHHH", answer[:12])
    if got != number or answers == 0:
        if got == number and flags & 15 == 5:
            stats["refused"] += 1
        else:
            others.add(answer.hex())
        return
    # One answer behind the question: name (a pointer, or once more in full), type, class, time to live, length, address.
    at = len(asked)
    at += 2 if answer[at] >= 0xC0 else len(asked) - 16
    length = int.from_bytes(answer[at + 8 : at + 10], "big")
    named = answer[at + 10 : at + 10 + length]
    if named == socket.inet_pton(payload.family(address), address):
        stats["own"] += 1
    else:
        others.add(named.hex())


for address in options["addresses"]:
    for _ in range(options["ports"]):
        family = payload.family(address)
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(options["timeoutMs"] / 1000)
            sock.bind((address, 0))
            sock.connect(tuple(options["to"]))
            for number in range(options["questions"]):
                asked = question(number, AAAA if family == socket.AF_INET6 else A)
                sock.send(asked)
                try:
                    judge(sock.recv(4096), asked, number, address)
                except (TimeoutError, ConnectionRefusedError):
                    stats["missing"] += 1
print(json.dumps({"event": "result", **stats, "others": sorted(others)}), flush=True)
