"""A client: sends datagrams one after the other, or as super packets (UDP_SEGMENT), and waits for so many answers to each
round, of the same payload. Prints {"answers": [per round]}; a round ends when all are there, or after `waitMs` without one.
Argument, JSON: {"ip": "10.1.0.2", "port": 4000, "to": ["10.1.0.1", 6000], "rounds": 10, "length": 1200, "segments": 16,
"copies": 4, "waitMs": 20000, "tail": 300}; segments 1: no super packets; tail: a last one of so many bytes goes with them;
rounds 0: until standard input closes, and then it prints how many rounds there were and in how many not all answers came,
{"rounds": 1000, "short": 0}."""
import itertools
import json
import select
import socket
import sys

SOL_UDP, UDP_SEGMENT = 17, 103
SO_RCVBUFFORCE = 33

options = json.loads(sys.argv[1])
family = socket.AF_INET6 if ":" in options["ip"] else socket.AF_INET
sock = socket.socket(family, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
sock.bind((options["ip"], options["port"]))
sock.connect(tuple(options["to"]))
sock.settimeout(options["waitMs"] / 1000)
if options["segments"] > 1:
    sock.setsockopt(SOL_UDP, UDP_SEGMENT, options["length"])
answers = []
tail = options.get("tail", 0)
wanted = (options["segments"] + (tail > 0)) * options["copies"]
for number in range(options["rounds"]) if options["rounds"] else itertools.count():
    if not options["rounds"] and select.select([sys.stdin], [], [], 0)[0]:
        break
    payload = bytes((number + at * 7) % 256 for at in range(options["length"]))
    sock.send(payload * options["segments"] + payload[:tail])
    came = 0
    try:
        while came < wanted:
            came += sock.recv(65535) in (payload, payload[:tail])
    except (TimeoutError, ConnectionRefusedError):
        pass
    answers.append(came)
short = sum(came < wanted for came in answers)
print(json.dumps({"answers": answers} if options["rounds"] else {"rounds": len(answers), "short": short}), flush=True)
