"""Builds in a process of their own: what its end means. The process is a FAKE, the device a record: nothing ran on hardware."""

import subprocess
import sys
from pathlib import Path

import pytest

from bundle.base.errors import TargetUnavailable
from bundle.formats.artifacts import hash_file
from bundle.formats.engines import write_engine_file
from targets.jetson import build_subprocess
from targets.jetson.build_subprocess import engine_of, main
from targets.jetson.builder import BuilderConfig, EngineFile, engine_key
from tests.exits import exit_code
from tests.targets.jetson.test_builder import ORIN


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    (tmp_path / "f16.onnx").write_bytes(b"a graph")
    return tmp_path / "f16.onnx"


def ends(monkeypatch, code: int, text: str = "") -> list[list[str]]:
    """Put a FAKE in the builder's place: no process is started, it "ended" with ``code``; returns what would have run."""
    ran: list[list[str]] = []
    answer = subprocess.CompletedProcess([], code, None, text)
    monkeypatch.setattr(build_subprocess, "_run", lambda command: ran.append(list(command)) or answer)
    return ran


def engine(graph: Path) -> EngineFile:
    return engine_of(graph, graph.parent, ORIN, "f16", BuilderConfig())


def test_a_killed_builder_is_a_lack_of_memory(monkeypatch, graph: Path) -> None:
    ends(monkeypatch, -9)
    with pytest.raises(TargetUnavailable, match="ran out of memory") as caught:
        engine(graph)
    assert "the system killed the builder" in caught.value.got and "--workspace 512" in caught.value.fix


def test_a_builders_own_words_are_passed_on(monkeypatch, graph: Path) -> None:
    ends(monkeypatch, 2, "TensorRT's parser refuses this graph\n")
    with pytest.raises(TargetUnavailable, match="the f16 engine was not built") as caught:
        engine(graph)
    assert "parser refuses" in caught.value.got


def test_a_builder_that_hangs_built_nothing(monkeypatch, graph: Path) -> None:
    def hang(command: list[str]) -> None:
        raise subprocess.TimeoutExpired(command, 14400)

    monkeypatch.setattr(build_subprocess, "_run", hang)
    with pytest.raises(TargetUnavailable, match="the f16 engine was not built") as caught:
        engine(graph)
    assert caught.value.got == "no end after 14400 s"


def test_what_a_builder_prints_does_not_spoil_our_answer(capfd: pytest.CaptureFixture[str]) -> None:
    done = build_subprocess._run([sys.executable, "-c", "import sys; print('chatter'); sys.stderr.write('words')"])
    captured = capfd.readouterr()
    assert (captured.out, captured.err, done.stderr) == ("", "chatter\n", "words")


def test_a_built_engine_is_not_built_again(monkeypatch, graph: Path) -> None:
    ran = ends(monkeypatch, 0)
    key = engine_key(hash_file(graph), ORIN, "f16", BuilderConfig())
    written = write_engine_file(graph.parent, f"{key.stem}.engine", b"engine")
    assert engine(graph) == (written.name, b"engine") and ran == []


def test_the_process_ends_with_the_errors_exit_code(monkeypatch, graph: Path, capsys) -> None:
    def no_device() -> None:
        raise TargetUnavailable("TensorRT cannot be imported", expected="a", got="b", where="c", fix="d")

    monkeypatch.setattr(build_subprocess, "find_device", no_device)
    assert exit_code(main, [str(graph), str(graph.parent), "f16", BuilderConfig().model_dump_json()]) == 3
    assert "TensorRT cannot be imported" in capsys.readouterr().err
