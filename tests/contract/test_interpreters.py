"""The device half under each Python that a JetPack or an Intel device may have: 3.10 to 3.13, in fresh environments.

They hold what a device installs and nothing of the host: no torch, no onnx. Found interpreters only; a version that is not on
this machine is skipped by its name. The environments are kept in pytest's cache (350 MB each; ``make clean`` removes them).
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device_runtime.write import RUNTIME, write_runtime
from tests.architecture.source import ROOT, device_side
from tests.bundle.made import HEIGHT, TASKS, WIDTH, image
from tests.bundle.made_onnx import COUNT, make
from tests.contract import interpreters
from tests.contract.interpreters import INSTALLABLE, VERSIONS, environment, find
from tests.device_runtime.runtime_file import altered, carry
from tests.predict.seen import lines_of, maps_of

pytestmark = pytest.mark.slow

IMPORT_ALL = """
import importlib, sys
names = sys.argv[1:]
for name in names:
    importlib.import_module(name)
assert not {"onnx", "torch", "typer"} & set(sys.modules), sorted(sys.modules)
print(len(names), "{}.{}".format(*sys.version_info))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def python(version: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of the version's environment; in a folder of this run if pytest keeps no cache."""
    cache = getattr(pytestconfig, "cache", None)  # there is none under -p no:cacheprovider
    return str(environment(version, cache.mkdir("interpreters") if cache else tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime file of this checkout."""
    path = tmp_path_factory.mktemp("runtime") / RUNTIME
    write_runtime(path)
    return path


@pytest.fixture(params=INSTALLABLE)
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tiny bundle for a target that the host's Python made."""
    return make(tmp_path / "made", request.param)


def run(python: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([python, *arguments], cwd=ROOT, env={}, capture_output=True, text=True, check=False)


def test_every_module_of_the_device_side_is_imported_without_a_warning(python: str, version: str) -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in device_side()]
    done = run(python, "-W", "error", "-c", IMPORT_ALL, *(name.removesuffix(".__init__") for name in names))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(len(names)), version] and len(names) > 60


def test_the_regression_suite_judges_a_bundle(python: str, bundle: Path) -> None:
    done = run(python, "-m", "pytest", "-p", "no:cacheprovider", "-q", "tests/regression", "--bundle", str(bundle))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((bundle / "regression.json").read_text())
    assert report["passed"] and report["executed_on"] == "device" and report["images"] == COUNT
    assert set(report["tasks"]) == set(TASKS)


def test_a_bundle_is_decided_on(python: str, bundle: Path) -> None:
    done = run(python, "-W", "error", "-m", "targets", str(bundle))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((bundle / "choice.json").read_text())["shipped"] == "f32"
    assert "send this file back" in done.stdout + done.stderr


def in_two_files(python: str, there: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [python, "-W", "error", RUNTIME, *words]
    return subprocess.run(command, cwd=there, env={}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("target", "executed_on"), [("intel", "device"), ("jetson", "emulation")])
def test_a_bundle_is_judged_from_two_files(
    python: str, runtime: Path, tmp_path: Path, target: str, executed_on: str
) -> None:
    there = carry(runtime, tmp_path, target)
    done = in_two_files(python, there, "judge", f"{target}.zip")
    assert done.returncode == 0, done.stderr
    report = json.loads((there / target / "regression.json").read_text())
    assert report["passed"] and report["executed_on"] == executed_on and report["images"] == COUNT
    done = in_two_files(python, there, "test", target, "-q")
    assert done.returncode == 0 and f"{4 * len(TASKS) + 3} passed" in done.stdout, done.stdout + done.stderr


def seen(python: str, there: Path, *words: str) -> tuple[list[dict[str, object]], dict[str, object]]:
    """What ``predict`` of the intel archive prints as JSON: the lines of the frames, and the last one."""
    done = in_two_files(python, there, "predict", "intel.zip", *words, "--json")
    assert done.returncode == 0, done.stderr
    return lines_of(done.stdout)


def test_a_live_source_is_seen_by_its_newest_frames(python: str, runtime: Path, tmp_path: Path) -> None:
    """Nothing holds lavfi's test source back, so frames come faster than they are seen, and some are passed over."""
    from tests.predict.made_video import read_video

    there, source = carry(runtime, tmp_path, "intel"), f"testsrc=size={WIDTH}x{HEIGHT}:rate=25"
    words = ("--format", "lavfi", "--frames", "newest", "--limit", "40", "--write", "sheets,arrays", "--out", "live")
    frames, last = seen(python, there, source, *words)
    numbers = [int(str(frame["frame"])) for frame in frames]
    assert last["live"] is True and last["executed_on"] == "device" and len(numbers) == last["frames"] == 40
    assert numbers == sorted(set(numbers)) and numbers[-1] > 39
    pictures = read_video(there / "live" / "sheet.mp4")
    assert len(pictures) == 40 and not np.array_equal(pictures[0][1], pictures[-1][1])
    with np.load(there / "live" / "arrays" / f"{numbers[-1]:06d}.npz", allow_pickle=False) as held:
        assert list(held) == list(TASKS) and held["normals"].shape == (3, HEIGHT, WIDTH)


def test_a_folder_and_a_video_are_seen(python: str, runtime: Path, tmp_path: Path) -> None:
    from tests.predict.made_video import write_video

    there, shown = carry(runtime, tmp_path, "intel"), [image(index) for index in range(5)]
    (there / "in").mkdir()
    for index, one in enumerate(shown):
        np.save(there / "in" / f"{index}.npy", one)
    write_video(there / "v.mkv", shown)
    for source, out, names in (("in", "a", "01234"), ("v.mkv", "b", [f"{index:06d}" for index in range(5)])):
        frames, last = seen(python, there, source, "--write", "arrays", "--out", out)
        assert [frame["frame"] for frame in frames] == list(names) and last["live"] is False
        for one, name in zip(shown, names, strict=True):
            with np.load(there / out / "arrays" / f"{name}.npz", allow_pickle=False) as held:
                assert (held["semseg"] == maps_of(one)["semseg"]).mean() > 0.98


def test_an_altered_archive_is_refused(python: str, runtime: Path, tmp_path: Path) -> None:
    there = carry(runtime, tmp_path, "intel")
    altered(there / "intel.zip", "f32.bin")
    done = in_two_files(python, there, "judge", "intel.zip")
    assert done.returncode == 2 and "f32.bin was altered" in done.stderr and not (there / "intel").exists()


def test_a_version_that_is_not_here_is_skipped_by_its_name(tmp_path: Path) -> None:
    assert find("3.99") is None
    with pytest.raises(pytest.skip.Exception, match=r"no Python 3\.99"):
        environment("3.99", tmp_path)


def test_a_machine_without_network_skips_and_says_why(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(interpreters, "_packages", lambda: ["a-package-of-no-local-folder"])
    with pytest.raises(pytest.skip.Exception, match=r"cannot be fetched here: .*a-package"):
        environment("{}.{}".format(*sys.version_info), tmp_path)


def test_packages_that_are_not_there_fail(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(interpreters, "_packages", lambda: ["a-package-of-no-local-folder"])
    with pytest.raises(AssertionError, match="No matching distribution"):
        environment("{}.{}".format(*sys.version_info), tmp_path)
