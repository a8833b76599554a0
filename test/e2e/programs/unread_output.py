"""Runs a command whose standard output nobody reads: KIND COMMAND..., where KIND is terminal, pipe or socket.

It is full before the command starts, so the first line of its log finds no room. "read" on standard input begins to read it.
Prints {"event": "ready"} at once, and at the end of the command {"event": "ended", "code", "text"}: what was read.
"""

import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading

kind, command = sys.argv[1], sys.argv[2:]
if kind == "terminal":
    reader, writer = pty.openpty()
    attributes = termios.tcgetattr(writer)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(writer, termios.TCSANOW, attributes)
elif kind == "pipe":
    reader, writer = os.pipe()
else:
    reader, writer = (end.detach() for end in socket.socketpair())

# A description of its own, where there can be one: that of the command stays as a shell would pass it on.
flags = fcntl.fcntl(writer, fcntl.F_GETFL)
fcntl.fcntl(writer, fcntl.F_SETFL, flags | os.O_NONBLOCK)
for size in (1024, 1):
    try:
        while True:
            os.write(writer, b"." * size)
    except BlockingIOError:
        pass
fcntl.fcntl(writer, fcntl.F_SETFL, flags)

child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer)
os.close(writer)
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
print(json.dumps({"event": "ready"}), flush=True)

parts = []


def read():
    try:
        while part := os.read(reader, 65536):
            parts.append(part)
    except OSError:
        pass  # of a terminal, when its last writer ended


def obey():
    for line in sys.stdin:
        if line.strip() == "read":
            threads.append(threading.Thread(target=read))
            threads[-1].start()
        elif line.strip() == "stop":
            child.terminate()
    child.kill()


threads = []
threading.Thread(target=obey, daemon=True).start()
code = child.wait()
for thread in threads:
    thread.join()
text = b"".join(parts).decode(errors="replace").lstrip(".")
print(json.dumps({"event": "ended", "code": code, "text": text[-20000:]}), flush=True)
os._exit(0)
