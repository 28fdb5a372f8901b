"""The watch itself: it sees what would leave this machine, fails it, and lets the rest pass."""

import socket
import sys
from pathlib import Path

import pytest

from tests.network.watched import Watched, run_watched

OUTSIDE = "192.0.2.1"  # reserved for documentation: no machine answers there
C_CODE = f"""
import ctypes, socket, struct
name = struct.pack(">HH4s8x", 0, 443, socket.inet_aton("{OUTSIDE}"))
name = struct.pack("=H", socket.AF_INET) + name[2:]
library = ctypes.CDLL(None, use_errno=True)
assert library.connect(library.socket(socket.AF_INET, socket.SOCK_STREAM, 0), name, 16) == -1
print(ctypes.get_errno())
"""
WAYS = {
    "TCP": f"import socket; socket.create_connection(('{OUTSIDE}', 443))",
    "IPv6": "import socket; socket.socket(socket.AF_INET6).connect(('2001:db8::1', 443))",
    "UDP": f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('{OUTSIDE}', 443))",
    "a message": f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('{OUTSIDE}', 443))",
    "C": C_CODE,
    "a child": f"import subprocess, sys; subprocess.run([sys.executable, '-c', \"import socket; socket.create_connection(('{OUTSIDE}', 443))\"])",
    "a thread": f"import socket, threading; t = threading.Thread(target=socket.create_connection, args=(('{OUTSIDE}', 443),)); t.start(); t.join()",
}


def run(code: str, tmp_path: Path) -> Watched:
    """Run a Python program under the watch."""
    return run_watched([sys.executable, "-c", code], cwd=tmp_path, env={})


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_fails_and_is_recorded(tmp_path: Path, way: str) -> None:
    done = run(WAYS[way], tmp_path)
    assert len(done.attempts) == 1 and ":443 (" in done.attempts[0], done
    assert "Network is unreachable" in done.output or done.output == "101\n"


def test_a_name_that_is_looked_up_is_recorded(tmp_path: Path) -> None:
    done = run("import socket; socket.getaddrinfo('example.com', 443)", tmp_path)
    assert done.attempts and done.returncode == 1, done
    assert all(":53 (" in one or "resolve" in one for one in done.attempts)


def test_this_machine_may_be_reached(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = run(f"import socket; socket.create_connection(('127.0.0.1', {port})); print('there')", tmp_path)
    assert done == Watched(0, "there\n", ())


def test_the_exit_code_and_the_output_are_the_commands(tmp_path: Path) -> None:
    assert run("import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)", tmp_path) == Watched(
        3, "out\nerr\n", ()
    )
