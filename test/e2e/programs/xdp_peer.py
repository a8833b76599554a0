"""Makes interfaces peers to which XDP can redirect: a veth gives such frames only to one that has an XDP program (here
one that lets all pass), and XDP takes only checksums that the sender finished. Arguments: for each interface its name, or
its name and ":tx" where only its checksums are to be finished. What is done stays with the interface."""
import array
import ctypes
import fcntl
import os
import platform
import socket
import struct
import sys

BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
BPF_PROG_LOAD, BPF_PROG_TYPE_XDP = 5, 6
# r0 = XDP_PASS; exit
PASS = struct.pack("<BBhi", 0xB7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0)
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
RTM_SETLINK, NLM_F_REQUEST, NLM_F_ACK = 19, 1, 4
IFLA_XDP, IFLA_XDP_FD, IFLA_XDP_FLAGS, NESTED = 43, 1, 3, 1 << 15
XDP_FLAGS_DRV_MODE = 1 << 2


def finish_checksums(device):
    value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sQ", device.encode(), value.buffer_info()[0]) + bytes(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCETHTOOL, request)


def load():
    """The program's descriptor."""
    instructions, license = ctypes.create_string_buffer(PASS), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "IIQQ", BPF_PROG_TYPE_XDP, len(PASS) // 8, ctypes.addressof(instructions), ctypes.addressof(license)
    )
    attributes = ctypes.create_string_buffer(attributes + bytes(100))
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(BPF, BPF_PROG_LOAD, attributes, 124)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "BPF_PROG_LOAD")
    return fd


def attach(program, device):
    def attribute(kind, content):
        return struct.pack("HH", 4 + len(content), kind) + content

    inner = attribute(IFLA_XDP_FD, struct.pack("i", program))
    inner += attribute(IFLA_XDP_FLAGS, struct.pack("I", XDP_FLAGS_DRV_MODE))
    body = struct.pack("BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(device), 0, 0)
    body += attribute(IFLA_XDP | NESTED, inner)
    header = struct.pack("IHHII", 16 + len(body), RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.send(header + body)
        (error,) = struct.unpack_from("i", sock.recv(4096), 16)
    if error:
        raise OSError(-error, f"{os.strerror(-error)}: XDP program at {device}")


program = load()
for name in sys.argv[1:]:
    device, _, only = name.partition(":")
    finish_checksums(device)
    if only != "tx":
        attach(program, device)
