"""Switches offloads of an interface on and off, by the old ioctls that each kernel has. Argument, JSON:
{"device": "c0", "tx": 0, "gro": 1}; tx is the checksum of what is sent."""
import array
import fcntl
import json
import socket
import struct
import sys

SIOCETHTOOL = 0x8946
COMMANDS = {"tx": 0x17, "gro": 0x2C}

options = json.loads(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for name, command in COMMANDS.items():
    if name not in options:
        continue
    value = array.array("B", struct.pack("II", command, options[name]))
    request = struct.pack("16sQ", options["device"].encode(), value.buffer_info()[0])
    fcntl.ioctl(sock, SIOCETHTOOL, request + bytes(16))
