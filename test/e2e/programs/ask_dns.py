"""Asks a DNS server for the IPv4 address of a name, each time from another socket; prints from where, and what came.
Argument, JSON: {"from": "10.1.0.2", "to": ["10.1.0.100", 6000], "name": "game.test", "count": 20}"""
import json
import socket
import struct
import sys

import payload

options = json.loads(sys.argv[1])
labels = b"".join(bytes([len(label)]) + label.encode() for label in options["name"].split("."))
asked = {}
for number in range(options["count"]):
    sock = socket.socket(payload.family(options["from"]), socket.SOCK_DGRAM)
    sock.bind((options["from"], 0))
    sock.connect(tuple(options["to"]))
    sock.settimeout(60)
    sock.send(struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1))
    answer = sock.recv(4096)
    assert struct.unpack("!H", answer[:2]) == (number,)
    asked[payload.text(*sock.getsockname()[:2])] = socket.inet_ntoa(answer[-4:])
print(json.dumps({"event": "result", "asked": asked}), flush=True)
