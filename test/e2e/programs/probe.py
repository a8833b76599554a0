"""Single questions to a path, one command each: python3 probe.py COMMAND JSON. Prints its answer as one JSON object with
"event": "result". All addresses are IPv4; "to" is [ip, port], "bind" the client's address."""
import errno
import json
import os
import socket
import struct
import sys
import time

import payload

IP_TTL, IP_OPTIONS, IP_MTU_DISCOVER, IP_RECVERR, IP_MTU = 2, 4, 10, 11, 14
IP_PMTUDISC_DO = 2
MSG_ERRQUEUE = 0x2000
UDP_SEGMENT = 103
SO_NO_CHECK = 11
TIMEOUT = 3


def udp(args):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(TIMEOUT)
    sock.bind((args["bind"], args.get("port", 0)))
    if args.get("noChecksum"):
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    sock.connect(tuple(args["to"]))
    return sock


def outcome(sock, data):
    """Sends and tells how the first reply compares: "same", "other", "nothing", or the name of the error."""
    try:
        sock.send(data)
        return "same" if sock.recv(65536) == data else "other"
    except socket.timeout:
        return "nothing"
    except OSError as error:
        return errno.errorcode[error.errno]


def exchange(args):
    """Sends the given sizes one after the other from one socket."""
    sock = udp(args)
    ip, port = sock.getsockname()
    results = []
    for sequence, size in enumerate(args["sizes"]):
        results.append(outcome(sock, payload.make(size, sequence, ip, port)))
        time.sleep(args.get("pauseMs", 0) / 1000)
    sock.settimeout(0.3)
    late = 0
    try:
        while True:
            sock.recv(65536)
            late += 1
    except OSError:
        pass
    return {"results": results, "unexpected": late, "client": "%s:%d" % (ip, port)}


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(args):
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.settimeout(TIMEOUT)
    body = struct.pack("!HH", os.getpid() & 0xFFFF, 1) + b"uoa"
    echo = struct.pack("!BBH", 8, 0, checksum(struct.pack("!BBH", 8, 0, 0) + body)) + body
    sock.sendto(echo, (args["to"][0], 0))
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        try:
            packet = sock.recv(65536)
        except socket.timeout:
            break
        header = (packet[0] & 15) * 4
        if packet[header] == 0 and packet[header + 4 :] == body:
            return {"answered": True}
    return {"answered": False}


def ttl(args):
    """The ICMP error that a datagram with this TTL gets."""
    sock = udp(args)
    sock.setsockopt(socket.IPPROTO_IP, IP_TTL, args["ttl"])
    sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    data = payload.make(64, 0, *sock.getsockname())
    result = {"reply": outcome(sock, data)}
    sock.setblocking(False)
    try:
        _, control, _, _ = sock.recvmsg(2048, 512, MSG_ERRQUEUE)
        for level, kind, raw in control:
            if level == socket.IPPROTO_IP and kind == IP_RECVERR:
                _, _, icmp_type, code = struct.unpack_from("=IBBB", raw)
                # struct sock_extended_err is 16 bytes, then the sockaddr_in of who sent the error
                result.update(type=icmp_type, code=code, offender=socket.inet_ntoa(raw[20:24]))
    except OSError as error:
        result["error"] = errno.errorcode[error.errno]
    return result


def pmtu(args):
    """Sends `size` bytes with DF twice: the first teaches the path MTU, the second meets it."""
    sock = udp(args)
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    data = payload.make(args["size"], 0, *sock.getsockname())
    first = outcome(sock, data)
    time.sleep(0.3)
    second = outcome(sock, data)
    return {"first": first, "second": second, "mtu": sock.getsockopt(socket.IPPROTO_IP, IP_MTU)}


def forge(args):
    """Sends datagrams whose IP options claim to be from another client; `options` is hexadecimal."""
    sock = udp(args)
    results = []
    for sequence in range(args["count"]):
        # The first ones are plain, if asked: the session and its trials are then over.
        if sequence == args.get("plainFirst", 0):
            sock.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, bytes.fromhex(args["options"]))
        results.append(outcome(sock, payload.make(64, sequence, *sock.getsockname())))
    return {"results": results, "client": "%s:%d" % sock.getsockname()}


def forge_opp(args):
    """Sends protocol-248 packets that claim to be from another client; what they carry is a datagram of this one."""
    sock = udp(args)
    ip, port = sock.getsockname()
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 248)
    raw.bind((ip, 0))
    results = []
    for sequence in range(args["count"]):
        data = payload.make(64, sequence, ip, port)
        if sequence < args.get("plainFirst", 0):
            results.append(outcome(sock, data))
            continue
        length = 8 + len(data)
        pseudo = socket.inet_aton(ip) + socket.inet_aton(args["to"][0]) + struct.pack("!HH", 17, length)
        header = struct.pack("!HHHH", port, args["to"][1], length, 0)
        header = header[:6] + struct.pack("!H", checksum(pseudo + header + data) or 0xFFFF)
        option = bytes.fromhex(args["options"])
        raw.sendto(struct.pack("!BBH", 0x10, 17, 4 + len(option)) + option + header + data, (args["to"][0], 0))
        try:
            results.append("same" if sock.recv(65536) == data else "other")
        except OSError as error:
            results.append(errno.errorcode.get(error.errno, "nothing"))
    return {"results": results, "client": "%s:%d" % (ip, port)}


def segment(args):
    """One send of `segments` datagrams of `size` bytes through UDP_SEGMENT; how many replies come."""
    sock = udp(args)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, args["size"])
    sock.send(b"".join(payload.make(args["size"], i, *sock.getsockname()) for i in range(args["segments"])))
    sock.settimeout(1)
    replies = []
    try:
        while True:
            replies.append(len(sock.recv(65536)))
    except socket.timeout:
        return {"replies": replies}


def flood(args):
    """Sends as fast as it can for `seconds`, from one socket, without waiting for replies."""
    sock = udp(args)
    sock.setblocking(False)
    data = payload.make(args["size"], 0, *sock.getsockname())
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


COMMANDS = {"exchange": exchange, "ping": ping, "ttl": ttl, "pmtu": pmtu, "forge": forge, "segment": segment}
COMMANDS.update(forge_opp=forge_opp, flood=flood)
print(json.dumps({"event": "ready"}), flush=True)
print(json.dumps({"event": "result", **COMMANDS[sys.argv[1]](json.loads(sys.argv[2]))}), flush=True)
