"""Sends Ethernet frames as they are, each a line of hexadecimal on standard input, and says at its end how many the kernel
took: {"event": "result", "sent": 1000, "refused": 0}. Argument: the interface."""
import json
import socket
import sys
import time

BURST = 32  # then a moment for the receiver: this is no flood

link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((sys.argv[1], 0))
sent = refused = 0
for line in sys.stdin:
    try:
        link.send(bytes.fromhex(line))
        sent += 1
    except OSError:  # too short, or too long
        refused += 1
    if (sent + refused) % BURST == 0:
        time.sleep(0.005)
print(json.dumps({"event": "result", "sent": sent, "refused": refused}), flush=True)
