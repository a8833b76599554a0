"""Runs a command for which the kernel knows no PACKET_VNET_HDR, as in gVisor, by a seccomp filter (seccomp(2)) on x86-64 and
arm64. libpcap does not ask for it."""
import ctypes
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SOL_PACKET, PACKET_VNET_HDR, ENOPROTOOPT = 263, 15, 92
SYS_SETSOCKOPT = {"x86_64": 54, "aarch64": 208}[platform.machine()]
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

program = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in [
        (LOAD, 0, 0, 0),  # the number of the call
        (JUMP_IF_EQUAL, 0, 5, SYS_SETSOCKOPT),
        (LOAD, 0, 0, 24),  # its second argument
        (JUMP_IF_EQUAL, 0, 3, SOL_PACKET),
        (LOAD, 0, 0, 32),  # its third
        (JUMP_IF_EQUAL, 0, 1, PACKET_VNET_HDR),
        (RETURN, 0, 0, ERRNO | ENOPROTOOPT),
        (RETURN, 0, 0, ALLOW),
    ]
)
instructions = ctypes.create_string_buffer(program)
filter = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0)]:
    if libc.prctl(*arguments) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
