"""Devices that misbehave in every way: each is a row that says so, none holds the others up, and nothing is accepted blindly."""

import asyncio
import errno
import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

asyncssh = pytest.importorskip("asyncssh", reason="the extra fleet is not installed")

from bundle.base.isolated import ROOT  # noqa: E402
from device_runtime.write import RUNTIME  # noqa: E402
from fleet import ssh  # noqa: E402
from tests.bundle.made import TASKS  # noqa: E402
from tests.cli.run import tdss  # noqa: E402
from tests.fleet import servers  # noqa: E402
from tests.fleet.conftest import Sent  # noqa: E402
from tests.fleet.servers import Shelf  # noqa: E402

Capture = pytest.CaptureFixture[str]


def fleet(
    shelf: Shelf, bundle: Path, capsys: Capture, *options: str, **keys: object
) -> tuple[int, dict[str, dict], str]:
    """Run the command on the shelf; return its exit code, its rows by device, and what it says on standard error."""
    words = ["fleet", str(shelf.write(**keys)), str(bundle), "--out", str(shelf.folder / "out"), "--json", *options]
    code, out, err = tdss(*words, capsys=capsys)
    assert "Traceback" not in err
    return code, {row["device"]: row for row in json.loads(out)["devices"]} if out else {}, err


@pytest.mark.slow
def test_the_real_device_half_judges_and_is_not_run_again(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    one, two = shelf.add("one"), shelf.add("two")
    code, rows, err = fleet(shelf, good.bundle, capsys)
    assert code == 0, err
    for name in ("one", "two"):
        assert rows[name]["standing"] == "within" and rows[name]["good"] and not rows[name]["earlier"]
        assert rows[name]["verdicts"] == dict.fromkeys(TASKS, "pass")
        assert rows[name]["variants"]["f32"]["latency_ms"] > 0 and rows[name]["chosen"] == "f32"
    [there] = (one.root / "tdss-fleet").glob("*/")
    assert {path.name for path in there.iterdir() if path.name[:8] != "results-"} == {RUNTIME, "bundle.zip", "bundle"}
    page = (shelf.folder / "out" / "fleet.html").read_text()
    assert "Every device is within every budget" in page and page.count("badge pass") == 4
    code, rows, _ = fleet(shelf, good.bundle, capsys)
    assert code == 0 and rows["one"]["earlier"] and len(one.commands) == len(two.commands) == 1


@pytest.mark.slow
def test_a_worse_model_ends_with_1_also_beside_a_device_that_is_away(
    shelf: Shelf, worse: Sent, capsys: Capture
) -> None:
    shelf.add("here")
    shelf.add("away", servers.drops)
    code, rows, err = fleet(shelf, worse.bundle, capsys)
    assert code == 1 and rows["here"]["verdicts"]["depth"] == "regression" and rows["away"]["lack"] == "killed"
    assert "not every device is within its budgets" in err and "depth regression" in rows["here"]["reason"]


def test_what_another_key_or_option_would_change_is_run_again(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    server = shelf.add("one", servers.sends(good.archive.read_bytes()))
    assert fleet(shelf, good.bundle, capsys)[0] == 0
    assert fleet(shelf, good.bundle, capsys, time_limit_s=60)[1]["one"]["earlier"]
    assert not fleet(shelf, good.bundle, capsys, python="python3.10")[1]["one"]["earlier"]
    assert len(server.commands) == 2 and " python3.10 " in server.commands[1]


class Full(asyncssh.SFTPServer):
    """Its disk is full, and it says so."""

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class FullAsOpenSSH(asyncssh.SFTPServer):
    """Its disk is full, and all that it says is "Failure"."""

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        raise asyncssh.SFTPFailure("Failure")

    def statvfs(self, path: bytes) -> "asyncssh.SFTPVFSAttrs":
        return asyncssh.SFTPVFSAttrs(bsize=4096, frsize=4096, blocks=100, bavail=0)


class Failing(FullAsOpenSSH):
    """Space is there, and writing fails."""

    def statvfs(self, path: bytes) -> "asyncssh.SFTPVFSAttrs":
        return asyncssh.SFTPVFSAttrs(bsize=4096, frsize=4096, blocks=10**9, bavail=10**9)


class Stuck(asyncssh.SFTPServer):
    """It takes a file and never answers."""

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:  # type: ignore[override]
        try:
            await asyncio.sleep(3600)
        finally:
            file_obj.close()  # type: ignore[attr-defined]
        return 0


class Dropping(asyncssh.SFTPServer):
    """The connection is lost while a file is copied."""

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        self.channel.get_connection().abort()
        return len(data)


@pytest.mark.parametrize(
    ("sftp", "lack", "reason"),
    [
        (Full, "full", "no space is left there for"),
        (FullAsOpenSSH, "full", "remove older folders in tdss-fleet"),
        (Failing, "wrong", "the device's SSH server refuses what is needed: SFTPFailure: Failure"),
        (Stuck, "late", "not done within its 1 s"),
        (Dropping, "killed", "the connection was lost in the middle"),
        (None, "wrong", "the device's SSH server refuses what is needed"),
    ],
)
def test_a_device_that_cannot_take_the_files(
    shelf: Shelf, good: Sent, capsys: Capture, sftp: "type[asyncssh.SFTPServer] | None", lack: str, reason: str
) -> None:
    server = shelf.add("one", sftp=sftp)
    code, rows, err = fleet(shelf, good.bundle, capsys, time_limit_s=1 if sftp is Stuck else 60)
    assert (code, rows["one"]["lack"]) == (3, lack) and reason in rows["one"]["reason"], rows
    assert server.commands == [] and f"one: {lack}, " in err


OURS = (
    "error: openvino needs openvino, which is not installed\n  expected: it\n  got:      No module\n  fix:      pip\n"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "lack", "reason"),
    [
        (servers.hangs, "late", "not done within its 1 s"),
        (servers.floods, "late", "not done within its 1 s"),
        (servers.drops, "killed", "the connection was lost in the middle"),
        (servers.killed, "killed", "the run on the device ended by SIGKILL"),
        (servers.fails(137), "killed", "ended by signal 9"),
        (servers.fails(124), "late", "not done"),
        (servers.fails(3, OURS), "wrong", "exit code 3: openvino needs openvino, which is not installed; got: No module; fix: pip"),
        (servers.fails(2, "error: x\n  got:      No space left on device\n"), "full", "no space is left there to unpack"),
        (servers.fails(4, "Traceback\nValueError: y\n"), "wrong", "exit code 4: ValueError: y"),
        (servers.fails(0), "wrong", "left no results archive"),
        (servers.fails(9), "wrong", "exit code 9: it said nothing"),
    ],
)  # fmt: skip
def test_a_run_that_ends_badly(
    shelf: Shelf, good: Sent, capsys: Capture, run: servers.Run, lack: str, reason: str
) -> None:
    shelf.add("one", run)
    code, rows, _ = fleet(shelf, good.bundle, capsys, time_limit_s=1 if run in (servers.hangs, servers.floods) else 60)
    assert (code, rows["one"]["lack"]) == (3, lack) and reason in rows["one"]["reason"], rows
    assert not list((shelf.folder / "out").glob("*.zip"))


def test_a_device_without_python_says_so(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    shelf.add("one")
    code, rows, _ = fleet(shelf, good.bundle, capsys, python="no-such-python")
    assert (code, rows["one"]["lack"]) == (3, "wrong") and "'no-such-python'" in rows["one"]["reason"]


def test_a_device_that_is_busy_with_another_run_says_so(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    server = shelf.add("one")
    (server.root / "tdss-fleet").mkdir()
    with (server.root / "tdss-fleet" / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        code, rows, _ = fleet(shelf, good.bundle, capsys)
    assert (code, rows["one"]["lack"]) == (3, "busy")


@pytest.mark.slow
def test_a_run_is_ended_on_the_device_too(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    """What runs there never prints, so it does not notice that the connection is gone."""
    server = shelf.add("one")
    script, pid = server.root / "sleeper", server.root / "pid"
    script.write_text("#!/bin/sh\necho $$ > pid\nexec sleep 600\n")
    script.chmod(0o755)
    assert fleet(shelf, good.bundle, capsys, python="./sleeper", time_limit_s=4)[1]["one"]["lack"] == "late"
    end = time.monotonic() + 60
    while Path(f"/proc/{int(pid.read_text())}").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path(f"/proc/{int(pid.read_text())}").exists()


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_finished_and_ends_at_once(shelf: Shelf, good: Sent) -> None:
    shelf.add("done", servers.sends(good.archive.read_bytes()))
    hanging, out = shelf.add("hanging", servers.hangs), shelf.folder / "out"
    command = [sys.executable, "-m", "cli.main", "fleet", str(shelf.write()), str(good.bundle), "--out", str(out)]
    started = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not (hanging.commands and list(out.glob("done-*.zip"))) and time.monotonic() < end:
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130 and "Traceback" not in err and "the same command again" in err, err
    assert len(list(out.glob("done-*.zip"))) == 1 and not (out / "fleet.html").exists()


def test_devices_that_are_away(shelf: Shelf, good: Sent, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONNECT_S", 0.5)
    shelf.silent("silent")
    shelf.add("here", servers.sends(good.archive.read_bytes()))
    key = asyncssh.generate_private_key("ssh-ed25519")
    with servers.socket.create_server(("127.0.0.1", 0)) as bound:
        shelf.servers["refusing"] = servers.Server(shelf.folder / "refusing", key, bound.getsockname()[1])
    code, rows, err = fleet(shelf, good.bundle, capsys)
    assert code == 3 and rows["here"]["good"] and "silent: away" in err and "here: within" not in err
    assert rows["silent"]["lack"] == rows["refusing"]["lack"] == "away"
    assert rows["silent"]["reason"].endswith("did not answer") and "refused" in rows["refusing"]["reason"].lower()


def test_a_host_key_is_never_accepted_blindly(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    changed, unknown, stranger = shelf.add("changed"), shelf.add("unknown"), shelf.add("stranger", allow=False)
    shelf.known["changed"] = changed.line(asyncssh.generate_private_key("ssh-ed25519"))
    del shelf.known["unknown"]
    code, rows, _ = fleet(shelf, good.bundle, capsys)
    assert code == 3 and {row["lack"] for row in rows.values()} == {"wrong"}
    assert "is another than known_hosts has; nothing was sent" in rows["changed"]["reason"]
    assert "is not in known_hosts; nothing was sent" in rows["unknown"]["reason"]
    assert "does not let tdss in with this key" in rows["stranger"]["reason"]
    assert [list(one.root.iterdir()) for one in (changed, unknown, stranger)] == [[], [], []]


def test_an_empty_known_hosts_file_is_not_the_users(
    shelf: Shelf, good: Sent, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = shelf.add("one")
    (shelf.folder / ".ssh").mkdir()
    (shelf.folder / ".ssh" / "known_hosts").write_text(server.line())
    monkeypatch.setenv("HOME", str(shelf.folder))
    shelf.known.clear()
    assert "is not in known_hosts" in fleet(shelf, good.bundle, capsys)[1]["one"]["reason"]


def altered(archive: Path, out: Path, name: str) -> bytes:
    """The archive with another byte in one of its files."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(out, "w") as sink:
        for entry in source.namelist():
            content = bytearray(source.read(entry))
            content[len(content) // 2] ^= entry == name
            sink.writestr(entry, bytes(content))
    return out.read_bytes()


def test_what_comes_back_is_checked(shelf: Shelf, good: Sent, worse: Sent, tmp_path: Path, capsys: Capture) -> None:
    sent = good.archive.read_bytes()
    contents = {
        "garbage": (b"\x80\x04garbage", "the archive cannot be read"),
        "empty": (b"", "the archive cannot be read"),
        "cut": (sent[: len(sent) // 2], "the archive cannot be read"),
        "other": (worse.archive.read_bytes(), "these are not this bundle's results"),
        "report": (altered(good.archive, tmp_path / "a.zip", "regression.json"), "regression.json was altered"),
        "bench": (altered(good.archive, tmp_path / "b.zip", "bench.json"), "bench.json was altered"),
        "manifest": (altered(good.archive, tmp_path / "m.zip", "manifest.json"), "manifest.json was altered"),
    }
    for name, (content, _) in contents.items():
        shelf.add(name, servers.sends(content))
    code, rows, _ = fleet(shelf, good.bundle, capsys)
    assert code == 3
    for name, (_, reason) in contents.items():
        assert rows[name]["lack"] == "wrong" and f"what it sent back is refused: {reason}" in rows[name][
            "reason"
        ].replace(f"{name}-", ""), rows[name]
    assert {path.name for path in (shelf.folder / "out").iterdir()} == {".lock", "fleet.html"}


def test_an_archive_that_is_too_large_is_not_read_to_its_end(
    shelf: Shelf, good: Sent, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "MOST", 1000)
    shelf.add("one", servers.sends(bytes(100_000)))
    assert fleet(shelf, good.bundle, capsys)[1]["one"]["reason"] == "its results archive is larger than 1000 bytes"


def test_a_device_of_another_target_is_not_asked(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    server = shelf.add("one")
    code, rows, _ = fleet(shelf, good.bundle, capsys, target="jetson")
    assert code == 3 and rows["one"]["reason"] == "the bundle is for reference, and this device is a jetson"
    assert list(server.root.iterdir()) == []


def test_a_result_that_was_kept_and_is_damaged_is_not_written_over(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    server = shelf.add("one", servers.sends(good.archive.read_bytes()))
    fleet(shelf, good.bundle, capsys)
    [kept] = (shelf.folder / "out").glob("one-*.zip")
    kept.write_bytes(b"mine")
    code, _, err = fleet(shelf, good.bundle, capsys)
    assert code == 2 and str(kept) in err and kept.read_bytes() == b"mine" and len(server.commands) == 1


def test_two_fleets_in_one_folder_are_refused(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    server = shelf.add("one")
    (shelf.folder / "out").mkdir()
    with (shelf.folder / "out" / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        code, _, err = fleet(shelf, good.bundle, capsys)
    assert code == 2 and "another tdss fleet is writing here" in err and server.commands == []


def test_rows_of_one_machine_take_turns(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    """Each run fails if another one has begun and not ended."""
    inside: list[int] = []

    async def alone(root: Path, process: servers.Process) -> None:
        inside.append(1)
        await asyncio.sleep(0.2)
        code = 0 if len(inside) == 1 else 9
        inside.pop()
        await servers.sends(good.archive.read_bytes(), code)(root, process)

    shelf.add("cpu", alone)
    shelf.add("gpu", alone)
    code, _, err = fleet(shelf, good.bundle, capsys)
    assert code == 0, err


def test_hostile_words_of_a_device_stay_text(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    shelf.add("one", servers.fails(9, "<script>alert(1)</script> | \x1b[2J\n"))
    path = shelf.write()
    code, out, _ = tdss("fleet", str(path), str(good.bundle), "--out", str(shelf.folder / "out"), capsys=capsys)
    assert code == 3 and "\x1b" not in out and "\\|" in out and "| one | reference | wrong |" in out
    assert "<script" not in (shelf.folder / "out" / "fleet.html").read_text()


def test_only_one_device_is_asked(shelf: Shelf, good: Sent, capsys: Capture) -> None:
    one, two = (shelf.add(name, servers.sends(good.archive.read_bytes())) for name in ("one", "two"))
    code, rows, _ = fleet(shelf, good.bundle, capsys, "--only", "two")
    assert code == 0 and list(rows) == ["two"] and (len(one.commands), len(two.commands)) == (0, 1)
    code, _, err = fleet(shelf, good.bundle, capsys, "--only", "three")
    assert code == 2 and "there is no device 'three'" in err


@pytest.mark.parametrize(
    ("name", "text"), [("key", "no key"), ("known_hosts", "one word"), ("key", None), ("known_hosts", None)]
)
def test_a_file_of_keys_that_cannot_be_used_is_named(
    shelf: Shelf, good: Sent, capsys: Capture, name: str, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, written = shelf.add("one"), shelf.write()
    (shelf.folder / name).unlink() if text is None else (shelf.folder / name).write_text(f"@{text}\n")
    monkeypatch.setattr(Shelf, "write", lambda self, **keys: written)
    code, _, err = fleet(shelf, good.bundle, capsys)
    assert code == 2 and f"where:    {shelf.folder / name}" in err and server.commands == []


def test_a_bundle_that_was_altered_goes_nowhere(shelf: Shelf, good: Sent, tmp_path: Path, capsys: Capture) -> None:
    server = shelf.add("one")
    shutil.copytree(good.bundle, tmp_path / "copy")
    (tmp_path / "copy" / "f32.onnx").write_bytes(b"x")
    code, _, err = fleet(shelf, tmp_path / "copy", capsys)
    assert code == 2 and "f32.onnx was altered" in err and list(server.root.iterdir()) == []
