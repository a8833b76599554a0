"""Sends a datagram with IP options, and says what came back. Argument, JSON: {"from": "10.2.0.1", "to": ["10.2.0.11", 6000],
"options": "1f08..", "payload": "hex"}"""
import json
import socket
import sys

options = json.loads(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((options["from"], 0))
sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes.fromhex(options["options"]))
sock.settimeout(20)
sock.sendto(bytes.fromhex(options["payload"]), tuple(options["to"]))
answer, source = sock.recvfrom(65536)
print(json.dumps({"event": "result", "answer": answer.hex(), "source": source[0]}), flush=True)
