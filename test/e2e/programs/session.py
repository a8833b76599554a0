"""One client's socket, told by lines of JSON on standard input what to do; each is answered by a line with "event": "did".
Prints {"event": "ready"} first. Argument, JSON: {"bind": ip, "port": 0, "to": [ip, port]}. Commands:
{"do": "exchange", "count": 50, "size": 64, "pauseMs": 0, "waitMs": 20000, "noChecksum": false, "options": "94040000"}: one
datagram after the other, each when the one before was answered or is missing; options are of IPv4, or a destination options
header.
{"do": "segment", "size": 1200, "segments": 10, "count": 5}: as many at once by UDP_SEGMENT, each time.
{"do": "send", "count": 10, "pauseMs": 5}: datagrams that nobody waits for.
{"do": "listen", "ms": 300}: what comes unasked. Answers count datagrams: "same" as was sent, "other", "missing", "unasked" before the command, and errors by name."""
import errno
import json
import select
import socket
import sys
import time

import payload

IP_OPTIONS, IPV6_DSTOPTS = 4, 59
UDP_SEGMENT, SO_NO_CHECK, SO_RCVBUFFORCE = 103, 11, 33
WAIT = 20

options = json.loads(sys.argv[1])
ipv6 = ":" in options["bind"]
sock = socket.socket(payload.family(options["bind"]), socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
sock.bind((options["bind"], options.get("port", 0)))
sock.connect(tuple(options["to"]))
ip, port = sock.getsockname()[:2]
sequence = 0


def make(size):
    global sequence
    sequence += 1
    return payload.make(size, sequence, ip, port)


def count(stats, name):
    stats[name] = stats.get(name, 0) + 1


def receive(seconds, stats):
    """The next datagram, or None; errors are counted and waited past."""
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left < 0 or not select.select([sock], [], [], left)[0]:
            return None
        try:
            return sock.recv(65536)
        except OSError as error:
            count(stats, errno.errorcode[error.errno])
            return None


def send(data, stats):
    try:
        sock.send(data)
    except OSError as error:  # of the datagram before, or this one is too long
        count(stats, errno.errorcode[error.errno])
        if error.errno == errno.EMSGSIZE:
            return False
        sock.send(data)
    return True


def drain(stats):
    """What waits already was not asked for."""
    while receive(0, stats) is not None:
        count(stats, "unasked")


def await_all(sent, stats, wait=WAIT):
    missing = list(sent)
    while missing:
        reply = receive(wait, stats)
        if reply is None:
            stats["missing"] = stats.get("missing", 0) + len(missing)
            return
        if reply in missing:
            missing.remove(reply)
            count(stats, "same")
        else:
            count(stats, "other")


def exchange(command, stats):
    sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, int(command.get("noChecksum", False)))
    if "options" in command:
        level, kind = (socket.IPPROTO_IPV6, IPV6_DSTOPTS) if ipv6 else (socket.IPPROTO_IP, IP_OPTIONS)
        sock.setsockopt(level, kind, bytes.fromhex(command["options"]))
    for _ in range(command["count"]):
        data = make(command.get("size", 64))
        if send(data, stats):
            await_all([data], stats, command.get("waitMs", 1000 * WAIT) / 1000)
        time.sleep(command.get("pauseMs", 0) / 1000)
    if "options" in command:
        sock.setsockopt(level, kind, b"")


def segment(command, stats):
    size = command["size"]
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
    for _ in range(command.get("count", 1)):
        sent = [make(size) for _ in range(command["segments"])]
        sock.send(b"".join(sent))
        await_all(sent, stats)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)


def send_only(command, stats):
    for _ in range(command["count"]):
        send(make(64), stats)
        time.sleep(command.get("pauseMs", 0) / 1000)


def listen(command, stats):
    end = time.monotonic() + command.get("ms", 300) / 1000
    while time.monotonic() < end:
        if receive(end - time.monotonic(), stats) is not None:
            count(stats, "unasked")


COMMANDS = {"exchange": exchange, "segment": segment, "send": send_only, "listen": listen}
print(json.dumps({"event": "ready", "ip": ip, "port": port}), flush=True)
for line in sys.stdin:
    command, stats = json.loads(line), {}
    drain(stats)
    COMMANDS[command["do"]](command, stats)
    print(json.dumps({"event": "did", **stats}), flush=True)
