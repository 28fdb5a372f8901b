"""Run a command in which every connection beyond this machine fails and is recorded, whichever library asks for it.

The kernel asks this process about each call that could reach a network (seccomp's user notification, Linux 5.5). So nothing
has to be installed and nothing gets past: not C++ code, not a client that ignores a proxy, not a child process.
A question to a name server counts as a connection, also where the name server's address is this machine's.
"""

import ctypes
import errno
import fcntl
import ipaddress
import os
import platform
import select
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Numbers of system calls, by machine: connect, sendto, sendmsg, sendmmsg; seccomp, pidfd_getfd.
CALLS = {"x86_64": (42, 44, 46, 307), "aarch64": (203, 206, 211, 269)}
SECCOMP = {"x86_64": 317, "aarch64": 277}
PIDFD_GETFD = 438
SET_NO_NEW_PRIVS, SET_MODE_FILTER, NEW_LISTENER = 38, 1, 8
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
RECEIVE, ANSWER, CONTINUE = 0xC0502100, 0xC0182101, 1
QUESTION_BYTES = 80  # id, pid, flags, call, machine, address of the instruction, six arguments
MESSAGE_BYTES = 64  # one mmsghdr
UNSPEC, UNIX, INET, INET6, NETLINK = 0, 1, 2, 10, 16
NAME_SERVER_PORT = 53


@dataclass(frozen=True)
class Watched:
    """How a command ended, and every connection beyond this machine that it asked for, in order."""

    returncode: int
    output: str
    attempts: tuple[str, ...]


def run_watched(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Watched:
    """Run a command and wait for it; its standard output and error are one text."""
    ours, theirs = os.pipe()
    go, told = os.pipe()
    launcher = [sys.executable, "-I", __file__, str(theirs), str(go), *command]
    with subprocess.Popen(
        launcher,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(theirs, go),
        text=True,
        errors="replace",
    ) as process:
        os.close(theirs)
        os.close(go)
        number = os.read(ours, 16)
        os.close(ours)
        if not number:
            os.close(told)
            output, _ = process.communicate()
            raise OSError(f"this system lets no process watch another's calls: {output}")
        listener = _take(process.pid, int(number))
        os.close(told)
        attempts: list[str] = []
        thread = threading.Thread(target=_answer_all, args=(listener, attempts))
        thread.start()
        output, _ = process.communicate()
    thread.join()
    return Watched(process.returncode, output, tuple(attempts))


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _take(pid: int, descriptor: int) -> int:
    """Return a copy of a child's file descriptor."""
    system = ctypes.CDLL(None, use_errno=True)
    child = os.pidfd_open(pid)
    try:
        return _check(system.syscall(PIDFD_GETFD, child, descriptor, 0), "pidfd_getfd")
    finally:
        os.close(child)


def _answer_all(listener: int, attempts: list[str]) -> None:
    """Answer the kernel's questions until every process that could ask has ended."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    try:
        while all(events & select.POLLIN for _, events in waiting.poll()):
            with suppress(FileNotFoundError, ProcessLookupError):  # who asked was killed meanwhile
                _answer(listener, attempts)
    finally:
        os.close(listener)  # whoever asks now gets an error, and does not wait


def _answer(listener: int, attempts: list[str]) -> None:
    question = bytearray(QUESTION_BYTES)
    fcntl.ioctl(listener, RECEIVE, question)
    number, pid, _, call, _, _, *arguments = struct.unpack("=QIIiIQ6Q", question)
    found = [where for name in _names(pid, call, arguments) if (where := _beyond(name)) is not None]
    attempts += [f"{where} ({_program(pid)})" for where in found if where]
    answer = (-errno.ENETUNREACH, 0) if found else (0, CONTINUE)
    fcntl.ioctl(listener, ANSWER, struct.pack("=QqiI", number, 0, *answer))


def _names(pid: int, call: int, arguments: list[int]) -> list[bytes]:
    """Return the addresses of sockets that a call names: none where the socket is connected already."""
    connect, sendto, sendmsg, _ = CALLS[platform.machine()]
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:

        def read(place: int, size: int) -> bytes:
            memory.seek(place)
            return memory.read(size)

        if call in (connect, sendto):
            places = [arguments[1:3] if call == connect else arguments[4:6]]
        else:
            count = 1 if call == sendmsg else arguments[2]
            places = [list(struct.unpack("=QI", read(arguments[1] + MESSAGE_BYTES * i, 12))) for i in range(count)]
        return [read(place, size & 0xFFFF) for place, size in places if place and size]


def _beyond(name: bytes) -> str | None:
    """Return where an address leads beyond this machine: "" for a cache that hides a name server; None if it does not."""
    [family] = struct.unpack_from("=H", name)
    if family in (UNSPEC, NETLINK):
        return None
    if family == UNIX:
        path = name[2:].strip(b"\0").decode(errors="replace")
        return "" if "nscd" in path else path if "resolve" in path else None
    if family not in (INET, INET6):
        return f"address family {family}"
    [port] = struct.unpack_from(">H", name, 2)
    address = ipaddress.ip_address(name[4:8] if family == INET else name[8:24])
    plain = getattr(address, "ipv4_mapped", None) or address
    return None if plain.is_loopback and port != NAME_SERVER_PORT else f"{plain}:{port}"


def _program(pid: int) -> str:
    return " ".join(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0"))[:200]


def _launch(told: int, go: int, command: list[str]) -> None:
    """Put this process under the filter, let the other one take its listener, and become the command."""
    calls = CALLS[platform.machine()]
    rules = [(LOAD, 0, 0, 0)]
    rules += [(JUMP_IF_EQUAL, len(calls) - index, 0, number) for index, number in enumerate(calls)]
    rules += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, NOTIFY)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(rules), ctypes.addressof(program)))
    system = ctypes.CDLL(None, use_errno=True)
    _check(system.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    number = SECCOMP[platform.machine()]
    listener = _check(system.syscall(number, SET_MODE_FILTER, NEW_LISTENER, described), "seccomp")
    os.write(told, str(listener).encode())
    os.close(told)
    os.read(go, 1)
    os.close(go)
    os.execvp(command[0], command)


if __name__ == "__main__":
    _launch(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
