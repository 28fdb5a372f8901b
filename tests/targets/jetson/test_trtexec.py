"""trtexec's control flow, with a FAKE of it: a script that prints lines in the tool's form. Nothing ran on hardware."""

import json
from pathlib import Path

import pytest

from bundle.base.errors import TargetUnavailable
from targets.jetson import trtexec
from targets.jetson.trtexec import find_trtexec, time_with_trtexec

# The form of TensorRT 8 to 10's performance summary; the numbers are made up.
FAKE_SUMMARY = """\
[11/22/2026-05:00:01] [I] Average on 10 runs - GPU latency: 6.1 ms - Host latency: 6.9 ms (enqueue 0.9 ms)
[11/22/2026-05:00:02] [I] === Performance summary ===
[11/22/2026-05:00:02] [I] Throughput: 158.6 qps
[11/22/2026-05:00:02] [I] Latency: min = 6.5 ms, max = 9.1 ms, mean = 6.9 ms, median = 6.875 ms, percentile(90%) = 7.1 ms, percentile(99%) = 8.8 ms
[11/22/2026-05:00:02] [I] Enqueue Time: min = 0.5 ms, max = 1.6 ms, mean = 0.6 ms, median = 0.58 ms, percentile(99%) = 0.9 ms
[11/22/2026-05:00:02] [I] H2D Latency: min = 0.2 ms, max = 0.3 ms, mean = 0.21 ms, median = 0.2027 ms, percentile(99%) = 0.3 ms
[11/22/2026-05:00:02] [I] GPU Compute Time: min = 5.9 ms, max = 8.0 ms, mean = 6.1 ms, median = 6.125 ms, percentile(90%) = 6.3 ms, percentile(99%) = 7.9 ms
[11/22/2026-05:00:02] [I] Total Host Walltime: 3.01 s
"""


def fake(folder: Path, said: str, code: int = 0) -> Path:
    """Write a fake trtexec that notes its arguments, prints ``said`` and ends with ``code``."""
    folder.mkdir(exist_ok=True)
    (folder / "said.txt").write_text(said)
    path = folder / "trtexec"
    path.write_text(
        f'#!/bin/sh\nfor one in "$@"; do echo "$one" >> {folder}/asked.txt; done\ncat {folder}/said.txt\nexit {code}\n'
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "f16-abc.engine"
    path.write_bytes(b"an engine")
    return path


def test_its_medians_are_those_of_its_summary(monkeypatch, tmp_path: Path, engine: Path) -> None:
    tool = fake(tmp_path / "bin", FAKE_SUMMARY)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    whole, compute, settings = time_with_trtexec(engine, seconds=3)
    assert (whole, compute) == (6.875, 6.125)
    assert settings["Throughput"] == "158.6 qps" and "percentile(99%) = 8.8 ms" in settings["Latency"]
    assert settings["arguments"] == "--duration=3 --warmUp=500"
    asked = (tool.parent / "asked.txt").read_text().splitlines()
    assert asked == [f"--loadEngine={engine}", "--duration=3", "--warmUp=500"]
    json.dumps(settings)


@pytest.mark.parametrize(
    ("said", "code"), [("Error: cannot load the engine\n", 1), (FAKE_SUMMARY.replace("median", "middle"), 0), ("", 0)]
)
def test_a_run_without_a_summary_is_refused_in_its_words(
    monkeypatch, tmp_path: Path, engine: Path, said: str, code: int
) -> None:
    monkeypatch.setenv("PATH", str(fake(tmp_path / "bin", said, code).parent), prepend=":")
    with pytest.raises(TargetUnavailable, match="trtexec did not finish") as caught:
        time_with_trtexec(engine, seconds=1)
    assert caught.value.got == (" ".join(said.strip().splitlines()[-3:]) or "nothing")


def test_it_is_looked_for_where_a_jetpack_puts_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(trtexec, "JETPACK", tmp_path / "nowhere")
    with pytest.raises(TargetUnavailable, match="not on this device"):
        find_trtexec()
    monkeypatch.setattr(trtexec, "JETPACK", fake(tmp_path / "usr", ""))
    assert find_trtexec() == tmp_path / "usr" / "trtexec"
