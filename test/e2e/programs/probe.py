"""Single questions to a path, one command each: python3 probe.py COMMAND JSON. Prints its answer as one JSON object with
"event": "result". "to" is [ip, port] and "bind" the client's address, of either family; a reply is waited for "waitMs",
20000 without."""
import errno
import json
import os
import socket
import struct
import sys
import time

import packets
import payload

IP_TTL, IP_OPTIONS, IP_MTU_DISCOVER, IP_RECVERR, IP_MTU = 2, 4, 10, 11, 14
IPV6_UNICAST_HOPS, IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR, IPV6_DSTOPTS = 16, 23, 24, 25, 59
PMTUDISC_DO = 2
MSG_ERRQUEUE = 0x2000
UDP_SEGMENT = 103
SO_NO_CHECK = 11
TIMEOUT = 20


def is_ipv6(sock):
    return sock.family == socket.AF_INET6


def set_ip(sock, ipv4_option, ipv6_option, value):
    """Sets the option of the socket's family."""
    if is_ipv6(sock):
        sock.setsockopt(socket.IPPROTO_IPV6, ipv6_option, value)
    else:
        sock.setsockopt(socket.IPPROTO_IP, ipv4_option, value)


def own(sock):
    return sock.getsockname()[:2]


def udp(args):
    sock = socket.socket(payload.family(args["bind"]), socket.SOCK_DGRAM)
    sock.settimeout(args.get("waitMs", 1000 * TIMEOUT) / 1000)
    sock.bind((args["bind"], args.get("port", 0)))
    if args.get("noChecksum"):
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    if args.get("noDf"):
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 0)
    sock.connect(tuple(args["to"]))
    return sock


def outcome(sock, data):
    """Sends and tells how the first reply compares: "same", "other", "nothing", or the name of the error."""
    try:
        sock.send(data)
        return compare(sock, data)
    except OSError as error:
        return errno.errorcode[error.errno]


def compare(sock, data):
    try:
        return "same" if sock.recv(65536) == data else "other"
    except socket.timeout:
        return "nothing"
    except OSError as error:
        return errno.errorcode[error.errno]


def exchange(args):
    """Sends the given sizes one after the other from one socket, or each from a socket of its own ("fresh")."""
    sockets = [udp(args)]
    results = []
    for sequence, size in enumerate(args["sizes"]):
        if args.get("fresh") and sequence > 0:
            sockets.append(udp(args))
        results.append(outcome(sockets[-1], payload.make(size, sequence, *own(sockets[-1]))))
        time.sleep(args.get("pauseMs", 0) / 1000)
    time.sleep(0.3)
    return {"results": results, "unexpected": waiting(sockets), "client": payload.text(*own(sockets[0]))}


def waiting(sockets):
    """How many datagrams came that nobody read."""
    count = 0
    for sock in sockets:
        sock.setblocking(False)
        try:
            while True:
                sock.recv(65536)
                count += 1
        except OSError:
            pass
    return count


def fragments(args):
    """Sends datagrams in fragments that a raw socket sends: for each cut {"fragment", "size"} in each of `orders`."""
    sock = udp(args)
    (ip, port), (vip, vport) = own(sock), args["to"]
    raw = packets.raw_socket(ip)
    results = []
    for cut in args["cuts"]:
        for order in args["orders"]:
            data = payload.make(cut["size"], len(results), ip, port)
            pieces = packets.fragments(ip, vip, packets.udp(ip, port, vip, vport, data), cut["fragment"])
            for packet in packets.in_order(order, pieces):
                raw.sendto(packet, (vip, 0))
            results.append("%s of %d: %s" % (order, cut["fragment"], compare(sock, data)))
    time.sleep(0.3)
    return {"results": results, "unexpected": waiting([sock]), "client": payload.text(ip, port)}


def ping(args):
    ipv6 = payload.family(args["to"][0]) == socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if ipv6 else socket.IPPROTO_ICMP
    request, reply = (128, 129) if ipv6 else (8, 0)
    sock = socket.socket(payload.family(args["to"][0]), socket.SOCK_RAW, protocol)
    sock.settimeout(TIMEOUT)
    body = struct.pack("!HH", os.getpid() & 0xFFFF, 1) + b"uoa"
    # Over IPv6 the kernel fills in the checksum.
    sum_ = packets.checksum(struct.pack("!BBH", request, 0, 0) + body)
    sock.sendto(struct.pack("!BBH", request, 0, sum_) + body, (args["to"][0], 0))
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        try:
            packet = sock.recv(65536)
        except socket.timeout:
            break
        header = 0 if ipv6 else (packet[0] & 15) * 4
        if packet[header] == reply and packet[header + 4 :] == body:
            return {"answered": True}
    return {"answered": False}


def ttl(args):
    """The ICMP error that a datagram with this TTL, or hop limit, gets."""
    sock = udp(args)
    set_ip(sock, IP_TTL, IPV6_UNICAST_HOPS, args["ttl"])
    set_ip(sock, IP_RECVERR, IPV6_RECVERR, 1)
    result = {"reply": outcome(sock, payload.make(64, 0, *own(sock)))}
    sock.setblocking(False)
    try:
        _, control, _, _ = sock.recvmsg(2048, 512, MSG_ERRQUEUE)
        for _, kind, raw in control:
            if kind in (IP_RECVERR, IPV6_RECVERR):
                _, _, icmp_type, code = struct.unpack_from("=IBBB", raw)
                # struct sock_extended_err is 16 bytes, then the socket address of who sent the error
                address = raw[24:40] if is_ipv6(sock) else raw[20:24]
                result.update(type=icmp_type, code=code, offender=socket.inet_ntop(sock.family, address))
    except OSError as error:
        result["error"] = errno.errorcode[error.errno]
    return result


def pmtu(args):
    """Sends `size` bytes with DF twice: the first teaches the path MTU, the second meets it."""
    sock = udp(args)
    set_ip(sock, IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO)
    data = payload.make(args["size"], 0, *own(sock))
    first = outcome(sock, data)
    time.sleep(0.3)
    second = outcome(sock, data)
    level, option = (socket.IPPROTO_IPV6, IPV6_MTU) if is_ipv6(sock) else (socket.IPPROTO_IP, IP_MTU)
    return {"first": first, "second": second, "mtu": sock.getsockopt(level, option)}


def forge(args):
    """Sends datagrams whose IP options, or destination options header, claim to be from another client; `options` is
    hexadecimal."""
    sock = udp(args)
    results = []
    for sequence in range(args["count"]):
        # The first ones are plain, if asked: the session and its trials are then over.
        if sequence == args.get("plainFirst", 0):
            set_ip(sock, IP_OPTIONS, IPV6_DSTOPTS, bytes.fromhex(args["options"]))
        results.append(outcome(sock, payload.make(64, sequence, *own(sock))))
    return {"results": results, "client": payload.text(*own(sock))}


def forge_opp(args):
    """Sends protocol-248 packets that claim to be from another client; what they carry is a datagram of this one."""
    sock = udp(args)
    (ip, port), (vip, vport) = own(sock), args["to"]
    raw = socket.socket(sock.family, socket.SOCK_RAW, packets.OPP)
    raw.bind((ip, 0))
    option = bytes.fromhex(args["options"])
    version = 0x20 if len(option) == 20 else 0x10
    results = []
    for sequence in range(args["count"]):
        data = payload.make(64, sequence, ip, port)
        if sequence < args.get("plainFirst", 0):
            results.append(outcome(sock, data))
            continue
        head = struct.pack("!BBH", version, packets.UDP, 4 + len(option)) + option
        raw.sendto(head + packets.udp(ip, port, vip, vport, data), (vip, 0))
        results.append(compare(sock, data))
    return {"results": results, "client": payload.text(ip, port)}


def from_others(args):
    """Sends one datagram from each of `sources` ([ip, port]), whoever has that address; `options` is hexadecimal."""
    vip, vport = args["to"]
    raw = packets.raw_socket(args["bind"])
    options = bytes.fromhex(args.get("options", ""))
    for sequence, (ip, port) in enumerate(args["sources"]):
        datagram = packets.udp(ip, port, vip, vport, payload.make(64, sequence, ip, port))
        raw.sendto(packets.whole(ip, vip, datagram, options), (vip, 0))
    return {"sent": len(args["sources"])}


def segment(args):
    """One send of `segments` datagrams of `size` bytes through UDP_SEGMENT; the sizes of all replies that come."""
    sock = udp(args)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, args["size"])
    sock.send(b"".join(payload.make(args["size"], i, *own(sock)) for i in range(args["segments"])))
    replies = []
    try:
        while True:
            replies.append(len(sock.recv(65536)))
            if len(replies) == args["segments"]:
                sock.settimeout(0.3)  # for one too many
    except socket.timeout:
        return {"replies": replies}


def flood(args):
    """Sends as fast as it can for `seconds`, from one socket, without waiting for replies."""
    sock = udp(args)
    sock.setblocking(False)
    data = payload.make(args["size"], 0, *own(sock))
    until = time.monotonic() + args["seconds"]
    sent = 0
    while time.monotonic() < until:
        for _ in range(100):
            try:
                sock.send(data)
                sent += 1
            except OSError:
                pass
    return {"sent": sent}


COMMANDS = {"exchange": exchange, "fragments": fragments, "ping": ping, "ttl": ttl, "pmtu": pmtu, "forge": forge}
COMMANDS.update(from_others=from_others, forge_opp=forge_opp, segment=segment, flood=flood)
print(json.dumps({"event": "ready"}), flush=True)
print(json.dumps({"event": "result", **COMMANDS[sys.argv[1]](json.loads(sys.argv[2]))}), flush=True)
