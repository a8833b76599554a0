#!/usr/bin/env python3
"""A UDP server that knows its clients behind uoa-proxy: it answers each datagram with its client's address.
Usage: server.py IP PORT    (IP may be :: for both families on a host with one address of each)"""
import ipaddress
import socket
import sys

IP_RECVOPTS, IPV6_RECVDSTOPTS, IPV6_DSTOPTS = 6, 58, 59  # linux/in.h, linux/in6.h
UOA = (31, 30)  # option types


def endpoint(ip, port):
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def client_in(options, length_counts):
    """The client in the first UOA among options; length_counts: those of IPv4 count type and length, too."""
    at = 0
    while at + 1 < len(options):
        kind, length = options[at], options[at + 1]
        if kind <= length_counts:  # padding of one byte: 0 in both families, 1 in IPv4
            at += 1
            continue
        end = at + length + (0 if length_counts else 2)
        content = options[at + 2 : end]
        at = max(end, at + 2)
        if kind not in UOA or len(content) not in (6, 18, 12, 36, 14, 38):
            continue
        if len(content) in (14, 38):  # unified over IPv4 begins with an operation
            content = content[2:]
        if len(content) in (12, 36):  # unified: cport, vport, client, VIP
            content = content[:2] + content[4 : 4 + (len(content) - 4) // 2]
        return endpoint(ipaddress.ip_address(content[2:]), int.from_bytes(content[:2], "big"))
    return None


ip, port = sys.argv[1], int(sys.argv[2])
sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, IP_RECVOPTS, 1)
if sock.family == socket.AF_INET6:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVDSTOPTS, 1)
sock.bind((ip, port))
clients = {}  # by source address, LIP:lport; never more than the proxy has lports
print("ready", flush=True)
while True:
    payload, control, _, source = sock.recvmsg(65535, 512)
    told = None
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_RECVOPTS):
            told = client_in(data, True)
        elif (level, kind) == (socket.IPPROTO_IPV6, IPV6_DSTOPTS):
            told = client_in(data[2:], False)
    if told:
        clients[source] = told
        if not payload:
            continue  # a carrier: it was only for the UOA
    # Who is not known yet, as after a restart of this server, goes by LIP:lport until the proxy tells again.
    local = ipaddress.ip_address(source[0])
    who = clients.get(source) or endpoint(getattr(local, "ipv4_mapped", None) or local, source[1])
    sock.sendto(who.encode() + b" " + payload, source)
