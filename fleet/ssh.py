"""One device over SSH: log in, copy two files, start the device half, bring its results back. The only importer of asyncssh.

A host key must be in the known_hosts file, and the login is by key alone: no password, no agent, and no configuration of the
user's SSH. Whatever a device does, it ends in its bytes or in ``Lacking``. The connection is aborted at the time limit,
so a device that does not answer cannot hold anything up. What it sends is read up to a limit.
"""

import asyncio
import errno
import os
import shlex
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias, cast

import asyncssh

from bundle.base.errors import ConfigError
from bundle.base.frozen import faults
from bundle.base.limits import LIMITS
from fleet.devices import Device, Fleet
from fleet.parcel import ARCHIVE, Parcel, key_of
from fleet.rows import Lacking

Say: TypeAlias = Callable[[str], None]
CONNECT_S = 30.0  # to be reached and logged in to
ALIVE_S = 15  # between questions whether the device is still there; after three without an answer it is not
KILL_S = 10  # a run that ignores SIGTERM gets SIGKILL
TAIL = 16_384  # of what a run prints, the last bytes are kept
MOST = LIMITS["result_bytes"].most  # bytes of a results archive
BUSY, LATE, NOT_EXECUTABLE, NOT_FOUND, SIGNALLED = 75, 124, 126, 127, 128
NO_SPACE = os.strerror(errno.ENOSPC)


class Trust(NamedTuple):
    """The host keys that are accepted, and the private key of each path."""

    known_hosts: asyncssh.SSHKnownHosts
    keys: Mapping[str, asyncssh.SSHKey]


def read_trust(fleet: Fleet) -> Trust:
    """Read the known_hosts file and every private key, before any device is asked.

    Raises:
        ConfigError: one of them is missing or cannot be read, or a key asks for a password.
    """
    path, keys = fleet.known_hosts, {}
    try:
        known = asyncssh.read_known_hosts(path)
        for path in {device.key for device in fleet.devices.values()}:
            keys[path] = asyncssh.read_private_key(path)
    except (OSError, ValueError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise ConfigError(
            "the list of devices names a file that cannot be used",
            expected="a known_hosts file, and a private key without a password",
            got=faults(error),
            where=path,
            fix="correct known_hosts or key; ssh-keyscan HOST prints a device's keys: compare them with the device's own",
        ) from error
    return Trust(known, keys)


async def judge_there(name: str, device: Device, sent: Parcel, trust: Trust, say: Say) -> bytes:
    """Have one device judge the parcel's bundle, and return the results archive that it sends back, unchecked.

    Raises:
        Lacking: there is none, and why.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + device.time_limit_s
    connection = await _connect(device, trust)
    say(f"{name}: connected")
    work = asyncio.ensure_future(_work(name, connection, device, sent, say, end))
    work.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # asked for here if by no one else
    try:
        done, _ = await asyncio.wait({work}, timeout=max(0.0, end - loop.time()))
    finally:
        connection.abort()
    if not done:
        await asyncio.wait({work}, timeout=KILL_S)  # its connection is gone, so it fails at once
        raise _late(device)
    try:
        return work.result()
    except (asyncssh.ConnectionLost, asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, OSError) as error:
        raise Lacking("killed", f"the connection was lost in the middle: {faults(error)}") from error
    except asyncssh.Error as error:
        raise Lacking("wrong", f"the device's SSH server refuses what is needed: {_words(error)}") from error


async def _connect(device: Device, trust: Trust) -> asyncssh.SSHClientConnection:
    where = f"{device.host}:{device.port}"
    try:
        return await asyncssh.connect(
            device.host,
            device.port,
            config=None,
            known_hosts=trust.known_hosts,
            username=device.user,
            client_keys=[trust.keys[device.key]],
            agent_path=None,
            preferred_auth="publickey",
            connect_timeout=min(CONNECT_S, device.time_limit_s),
            keepalive_interval=ALIVE_S,
        )
    except asyncssh.HostKeyNotVerifiable as error:
        there = any(trust.known_hosts.match(device.host, "", device.port)[:2])
        why = "is another than known_hosts has" if there else "is not in known_hosts"
        raise Lacking("wrong", f"the host key of {where} {why}; nothing was sent") from error
    except asyncssh.PermissionDenied as error:
        raise Lacking("wrong", f"{where} does not let {device.user} in with this key") from error
    except (TimeoutError, asyncio.TimeoutError) as error:
        raise Lacking("away", f"{where} did not answer") from error
    except OSError as error:
        number = error.errno or 0  # below 0 for a name that is unknown; asyncio has words of its own for the others
        why = os.strerror(number) if number > 0 else _words(error)
        raise Lacking("away", f"{where}: {why}") from error
    except asyncssh.Error as error:
        raise Lacking("away", f"{where}: {_words(error)}") from error


async def _work(
    name: str, connection: asyncssh.SSHClientConnection, device: Device, sent: Parcel, say: Say, end: float
) -> bytes:
    there = f"{device.folder}/{sent.bundle[:16]}"
    back = f"{there}/results-{key_of(sent, device)[:16]}.zip"
    sftp = await connection.start_sftp_client()
    try:
        await _copy(sftp, there, back, sent)
    except asyncssh.SFTPFailure as error:  # version 3 of SFTP has no other for a full disk, and OpenSSH no word
        needed = sum(path.stat().st_size for path in sent.files)
        if NO_SPACE not in str(error) and await _space(sftp, there) >= needed:
            raise
        text = f"no space is left there for {needed / 1e6:.1f} MB; remove older folders in {device.folder}"
        raise Lacking("full", text) from error
    say(f"{name}: received the bundle, is judging it")
    left = int(end - asyncio.get_running_loop().time())
    words = _words_there(device, there, back, sent, max(1, left))
    process = await connection.create_process(words, stdin=asyncssh.DEVNULL, encoding=None)
    _, said = await asyncio.gather(_tail(process.stdout), _tail(process.stderr))
    await process.wait_closed()
    _require_end(device, process, said.decode(errors="replace"))
    say(f"{name}: sends its results")
    return await _fetch(sftp, back)


async def _copy(sftp: asyncssh.SFTPClient, there: str, back: str, sent: Parcel) -> None:
    """Write the parcel under other names first: a run that is still going on keeps the files that it reads."""
    await sftp.makedirs(there, exist_ok=True)
    if await sftp.exists(back):
        await sftp.remove(back)
    for path in sent.files:
        await sftp.put(str(path), f"{there}/{path.name}.part")
        await sftp.posix_rename(f"{there}/{path.name}.part", f"{there}/{path.name}")


async def _space(sftp: asyncssh.SFTPClient, there: str) -> float:
    """Return the bytes that are free there; infinity where the server does not say."""
    try:
        found = await sftp.statvfs(there)
    except asyncssh.SFTPError:
        return float("inf")
    return float(found.bavail * found.frsize)


def _words_there(device: Device, there: str, back: str, sent: Parcel, left: int) -> str:
    """Return the command line for the device's shell: one run at a time, ended there too when its time is over."""
    runtime, _ = sent.files
    lock = ["flock", "--nonblock", "--conflict-exit-code", str(BUSY), f"{device.folder}/lock"]
    limit = ["timeout", f"--kill-after={KILL_S}", str(left)]
    judge = [device.python, f"{there}/{runtime.name}", "judge", f"{there}/{ARCHIVE}", "--target", device.target]
    return shlex.join(["env", "LC_ALL=C", *lock, *limit, *judge, *device.judge, "--send", back])


async def _tail(stream: asyncssh.SSHReader[bytes]) -> bytes:
    """Read a stream to its end and return its last bytes."""
    kept = b""
    while part := await stream.read(TAIL):
        kept = (kept + part)[-TAIL:]
    return kept


def _require_end(device: Device, process: "asyncssh.SSHClientProcess[bytes]", said: str) -> None:
    """Do nothing if the device half judged, whatever its verdict is.

    Raises:
        Lacking: it did not, and why.
    """
    code, signal = process.exit_status, process.exit_signal
    if code in (0, 1):
        return
    if signal is not None or code is None:
        by = f"by SIG{signal[0]}" if signal is not None else "without an exit code"
        raise Lacking("killed", f"the run on the device ended {by}")
    if code == BUSY:
        raise Lacking("busy", "another run is going on there; it ends by itself when its time is over")
    if code == LATE:
        raise _late(device)
    if code > SIGNALLED:
        raise Lacking("killed", f"the run on the device ended by signal {code - SIGNALLED}")
    if NO_SPACE in said:
        raise Lacking("full", "no space is left there to unpack or to judge the bundle")
    if code in (NOT_EXECUTABLE, NOT_FOUND):
        raise Lacking("wrong", f"Python, flock or timeout is missing there: {_reason(said)}")
    raise Lacking("wrong", f"exit code {code}: {_reason(said)}")


def _reason(said: str) -> str:
    """Return what a run that failed said: our error with what it got and its fix, else its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    start = max((number for number, line in enumerate(lines) if line.startswith("error: ")), default=None)
    if start is None:
        return (lines or ["it said nothing"])[-1][:500]
    facts = [line for line in lines[start + 1 :] if line.startswith(("got:", "fix:"))]
    return "; ".join([lines[start].removeprefix("error: "), *(" ".join(fact.split()) for fact in facts)])[:500]


async def _fetch(sftp: asyncssh.SFTPClient, back: str) -> bytes:
    try:
        async with sftp.open(back, "rb") as stream:
            content = cast(bytes, await stream.read(MOST + 1))  # str without "b"
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
        raise Lacking("wrong", "the run ended well and left no results archive") from error
    if len(content) > MOST:
        raise Lacking("wrong", f"its results archive is larger than {MOST} bytes")
    return content


def _late(device: Device) -> Lacking:
    return Lacking("late", f"not done within its {device.time_limit_s} s")


def _words(error: Exception) -> str:
    """Return an error's words in one line, without control characters to hide some."""
    return " ".join(faults(error).split())[:300]
