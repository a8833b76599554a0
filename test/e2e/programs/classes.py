"""Sends exactly so many IP packets of each kind, and binds the ports that it names until standard input closes, so that no
kernel answers for them. Prints {"event": "ready"} when all is sent. Argument, JSON: {"bind": [[ip, port], ..], "packets":
[{"count": 3, "to": "..", "hex": ["..", ..]}, ..], "vlan": {"device": "..", "destination": "aa:..", "hex": "..", "count": 3}}"""
import json
import socket
import sys
import time

import packets

ETH_P_8021Q = b"\x81\x00"
VLAN_ID = b"\x00\x05"
ETH_P_IP = {4: b"\x08\x00", 6: b"\x86\xdd"}
BURST = 16  # then a moment for the receiver: this is about counters, not about floods

options = json.loads(sys.argv[1])
bound = []
for ip, port in options.get("bind", []):
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((ip, port))
    bound.append(sock)

raw = {}
for packet in options.get("packets", []):
    to, content = packet["to"], [bytes.fromhex(one) for one in packet["hex"]]
    sock = raw.setdefault(":" in to, packets.raw_socket(to))
    for number in range(packet["count"]):
        for one in content:
            sock.sendto(one, (to, 0))
        if number % BURST == BURST - 1:
            time.sleep(0.005)

vlan = options.get("vlan")
if vlan:
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind((vlan["device"], 0))
    frame = bytes.fromhex(vlan["destination"].replace(":", "")) + link.getsockname()[4]
    packet = bytes.fromhex(vlan["hex"])
    for _ in range(vlan["count"]):
        link.send(frame + ETH_P_8021Q + VLAN_ID + ETH_P_IP[packet[0] >> 4] + packet)

print(json.dumps({"event": "ready"}), flush=True)
sys.stdin.read()
print(json.dumps({"event": "result"}), flush=True)
