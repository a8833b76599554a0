"""A real server: answers each datagram with so many copies of its payload, in one super packet (UDP_SEGMENT) if
more than one. Prints {"event": "ready"}, and when standard input closes how many datagrams came, and from whom.
Argument, JSON: {"ip": "10.2.0.2", "port": 7000, "copies": 4}"""
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
print(json.dumps({"event": "ready"}), flush=True)
received, sources = 0, set()
while True:
    ready, _, _ = select.select([sock, sys.stdin], [], [])
    if sys.stdin in ready:
        break
    payload, source = sock.recvfrom(65535)
    received += 1
    sources.add("%s %d" % source[:2])
    if options["copies"] > 1:
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, len(payload))
    sock.sendto(payload * options["copies"], source)
print(json.dumps({"received": received, "sources": sorted(sources)}), flush=True)
