"""SSH servers of this process, each a device of its own folder, that behave as a test asks them to."""

import asyncio
import shlex
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import asyncssh

T = TypeVar("T")
Process: TypeAlias = "asyncssh.SSHServerProcess[bytes]"
Run: TypeAlias = Callable[[Path, Process], Awaitable[None]]
USER = "tdss"


class Loop:
    """An event loop in a thread of its own, for the servers."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=30)

    def end(self) -> None:
        """End what is still going on, then the thread."""

        async def cancel() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def shell(root: Path, process: Process) -> None:
    """Run the command as a device's shell does, at home in the device's folder."""
    child = await asyncio.create_subprocess_shell(
        process.command or "",
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "HOME": str(root), "OMP_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate()
    process.stdout.write(out)
    process.stderr.write(err)
    process.exit(child.returncode or 0)


def sends(content: bytes, code: int = 0) -> Run:
    """Return what leaves these bytes as the results archive, and ends."""

    async def run(root: Path, process: Process) -> None:
        words = shlex.split(process.command or "")
        (root / words[words.index("--send") + 1]).write_bytes(content)
        process.exit(code)

    return run


def fails(code: int, said: str = "") -> Run:
    """Return what says something on standard error and ends with an exit code."""

    async def run(root: Path, process: Process) -> None:
        process.stderr.write(said.encode())
        process.exit(code)

    return run


async def hangs(root: Path, process: Process) -> None:
    """Never end."""
    await asyncio.sleep(3600)


async def floods(root: Path, process: Process) -> None:
    """Print without an end."""
    while True:
        process.stdout.write(bytes(65_536))
        await process.stdout.drain()


async def drops(root: Path, process: Process) -> None:
    """Lose the connection in the middle of the run."""
    process.get_extra_info("connection").abort()


async def killed(root: Path, process: Process) -> None:
    """End as a process does that the system killed."""
    process.exit_with_signal("KILL", msg="out of memory")


@dataclass
class Server:
    """One device: its folder, its host key, its port, and how often a command was run there."""

    root: Path
    key: asyncssh.SSHKey
    port: int = 0
    commands: list[str] = field(default_factory=list)

    def line(self, key: asyncssh.SSHKey | None = None) -> str:
        """Return the line of known_hosts, with this host key or another."""
        return f"[127.0.0.1]:{self.port} {(key or self.key).export_public_key().decode()}"


@dataclass
class Shelf:
    """The devices of a test, and the files that ``tdss fleet`` reads of them."""

    folder: Path
    loop: Loop
    client: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    servers: dict[str, Server] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    ends: list[Callable[[], None]] = field(default_factory=list)

    def add(
        self,
        name: str,
        run: Run = shell,
        *,
        sftp: type[asyncssh.SFTPServer] | None = asyncssh.SFTPServer,
        allow: bool = True,
    ) -> Server:
        """Start a device; ``sftp`` None has no file transfer, and ``allow`` False lets the client's key not in."""
        server = Server(self.folder / name, asyncssh.generate_private_key("ssh-ed25519"))
        server.root.mkdir()
        trusted = self.client if allow else asyncssh.generate_private_key("ssh-ed25519")

        async def handle(process: Process) -> None:
            server.commands.append(process.command or "")
            await run(server.root, process)

        async def start() -> asyncssh.SSHAcceptor:
            return await asyncssh.create_server(
                asyncssh.SSHServer,
                "127.0.0.1",
                0,
                server_host_keys=[server.key],
                authorized_client_keys=asyncssh.import_authorized_keys(trusted.export_public_key().decode()),
                process_factory=handle,
                sftp_factory=None if sftp is None else lambda channel: sftp(channel, chroot=str(server.root)),
                encoding=None,
            )

        acceptor = self.loop.run(start())
        self.ends.append(acceptor.close)
        server.port = acceptor.get_port()
        self.servers[name], self.known[name] = server, server.line()
        return server

    def silent(self, name: str) -> None:
        """Open a port where the system takes connections and nothing ever answers."""
        bound = socket.create_server(("127.0.0.1", 0))
        self.ends.append(bound.close)
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.servers[name] = Server(self.folder / name, key, bound.getsockname()[1])

    def write(self, more: str = "", **keys: object) -> Path:
        """Write devices.toml, the client's key and known_hosts, and return the first."""
        self.client.write_private_key(self.folder / "key")
        (self.folder / "known_hosts").write_text("".join(self.known.values()))
        defaults = {
            "host": "127.0.0.1",
            "user": USER,
            "key": "key",
            "target": "reference",
            "python": sys.executable,
            **keys,
        }
        words = ["--runs", "1", "--warmup", "0"]
        lines = ['known_hosts = "known_hosts"', "[defaults]", f"judge = {words}"]
        lines += [f"{name} = {value!r}" for name, value in defaults.items()]
        for name, server in self.servers.items():
            lines += [f"[devices.{name}]", f"port = {server.port}"]
        path = self.folder / "devices.toml"
        path.write_text("\n".join([*lines, more, ""]))
        return path

    def end(self) -> None:
        """Close every server."""
        for close in self.ends:
            self.loop.loop.call_soon_threadsafe(close)
