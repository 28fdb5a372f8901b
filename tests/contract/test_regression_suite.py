"""``pytest tests/regression --bundle`` as a person types it: a sound bundle passes, a worse or altered one fails by name.

The bundle is that of tests/bundle/made_onnx.py, for each target that this machine can open.
"""

import json
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import numpy as np
import onnx
import pytest

from bundle.formats.manifest import load_bundle, write_manifest
from bundle.judging.choice import CHOICE, Candidate, Choice
from bundle.judging.image_sources import write_arrays
from bundle.tasks.dataset import decode_label
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from bundle.transport.signature import make_keys, sign
from tests.bundle.made import SPEC, TASKS, evaluated, hash_bundle, manifest, write_result
from tests.bundle.made_onnx import COUNT, graph, make
from tests.bundle.made_scenes import write_folder
from tests.contract.flows import EXECUTED_ON

ROOT = Path(__file__).resolve().parents[2]


def judge(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the suite in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "tests/regression",
        "--bundle",
        str(folder),
    ]
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "executed_on"), EXECUTED_ON.items())
def test_a_sound_bundle_passes_and_says_so(tmp_path: Path, name: str, executed_on: str) -> None:
    done = judge(make(tmp_path / name, name))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / name / "regression.json").read_text())
    assert report["passed"] and report["executed_on"] == executed_on and report["images"] == COUNT
    assert report["device"]["name"] and set(report["tasks"]) == set(TASKS)
    skipped = len(TASKS) + 1  # no --baseline, no --data given
    assert f"{4 * len(TASKS) + 3} passed, {skipped} skipped" in done.stdout


def test_a_worse_task_fails_alone_and_is_named(tmp_path: Path) -> None:
    done = judge(make(tmp_path / "worse", "reference", noise=0.5))
    assert done.returncode == 1
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    tests = "tests/regression/test_bundle.py::test_"
    assert {f"{tests}budget[depth]", f"{tests}the_whole_report_passes"} <= set(failed)
    assert all("depth" in name or "whole" in name for name in failed)
    assert "depth: RMSE " in done.stdout and "regression" in done.stdout
    assert json.loads((tmp_path / "worse" / "regression.json").read_text())["passed"] is False


@pytest.mark.slow
def test_nan_in_one_tasks_output_fails_that_task_and_no_other(tmp_path: Path) -> None:
    done = judge(make(tmp_path / "nan", "reference", noise=float("nan")))
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert {name.rpartition("::")[2] for name in failed} >= {"test_budget[depth]", "test_finite[depth]"}
    assert all("depth" in name or "whole" in name for name in failed)
    assert "depth holds NaN or infinity on 12 images" in done.stdout


@pytest.mark.slow
def test_a_graph_of_another_shape_is_refused_in_one_sentence(tmp_path: Path) -> None:
    done = judge(make(tmp_path / "other", "reference", tasks={**TASKS, "semseg": TASKS["semseg"] + 1}))
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert "the graph's outputs are not what was recorded" in done.stdout and "semseg float32 (1, 5," in done.stdout
    assert not (tmp_path / "other" / "regression.json").exists()


@pytest.mark.slow
def test_what_the_device_chose_is_judged_and_said(tmp_path: Path) -> None:
    """The build shipped a sound f32; choice.json names an f16 whose depth is worse."""
    folder = make(tmp_path / "chosen", "reference")
    [plain] = load_bundle(folder).manifest.variants
    onnx.save(graph(noise=0.5), folder / "f16.onnx")
    recipe = {**plain.recipe, "name": "f16"}
    half = plain.model_copy(update={"name": "f16", "precision": "f16", "files": ("f16.onnx",), "recipe": recipe})
    terms = manifest(folder).model_copy(update={"target": "reference", "variants": (plain, half)})
    write_manifest(folder, terms.model_copy(update={"files": hash_bundle(folder)}))
    candidate = Candidate(name="f16", latency_ms=None, verdicts={"depth": "regression"}, standing="beyond")
    choice = Choice(shipped="f16", rule="none_within", eager_ms=None, candidates=(candidate,))
    write_result(folder, CHOICE, choice.model_dump_json(indent=2))
    done = judge(folder)
    assert (
        done.returncode == 1 and "variant f16: choice.json: no variant is shown to be within its budgets" in done.stdout
    )
    report = json.loads((folder / "regression.json").read_text())
    assert (report["variant"], report["tasks"]["depth"]["verdict"]) == ("f16", "regression")
    assert judge(folder, "--variant", "f32").returncode == 0
    assert json.loads((folder / "regression.json").read_text()) == report


@pytest.mark.slow
@pytest.mark.parametrize("name", ["f32.onnx", "vectors.npz", "manifest.json"])
def test_an_altered_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "altered", "reference")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    done = judge(folder)
    assert done.returncode != 0 and f"{name} was altered" in done.stdout + done.stderr
    assert not (folder / "regression.json").exists()
    assert "Traceback" not in done.stdout and "fix:" in done.stdout


@pytest.mark.slow
def test_an_unsigned_bundle_is_refused_where_a_key_is_given(tmp_path: Path) -> None:
    folder, (private, public) = make(tmp_path / "unsigned", "reference"), make_keys(tmp_path / "key")
    done = judge(folder, "--key", str(public))
    assert done.returncode != 0 and "this bundle is not signed" in done.stdout + done.stderr
    assert not (folder / "regression.json").exists()
    sign(folder, private)
    assert judge(folder, "--key", str(public)).returncode == 0


@pytest.mark.slow
def test_the_junit_file_has_a_case_per_task_and_check_with_the_figures(tmp_path: Path) -> None:
    folder, junit = make(tmp_path / "worse", "reference", noise=0.5), tmp_path / "junit.xml"
    judge(folder, "--junitxml", str(junit))
    cases = {case.get("name"): case for case in xml.parse(junit).iter("testcase")}
    assert {f"test_{check}[{name}]" for check in ("budget", "finite", "shapes", "agreement") for name in TASKS} <= set(
        cases
    )
    failure = cases["test_budget[depth]"].find("failure")
    assert failure is not None and "depth: RMSE " in (failure.get("message") or "")
    values = {one.get("name"): one.get("value") for one in cases["test_budget[depth]"].iter("property")}
    assert values["verdict"] == "regression" and float(str(values["drop_relative"])) > 0.01
    assert cases["test_budget[edge]"].find("failure") is None


@pytest.mark.slow
def test_a_session_that_does_not_come_back_in_time_fails_every_test_in_one_sentence(tmp_path: Path) -> None:
    done = judge(make(tmp_path / "slow", "reference"), "--time-limit", "0.000001")
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert "took longer than its time limit" in done.stdout and "same command again" in done.stdout
    assert "During handling" not in done.stdout
    assert not (tmp_path / "slow" / "regression.json").exists()


@pytest.mark.slow
def test_a_baseline_gates_the_difference_and_two_sided_an_improvement(tmp_path: Path) -> None:
    """The worse bundle has a lax budget, so only the earlier run finds it out."""
    folder = make(tmp_path / "sound", "reference")
    old = tmp_path / "old.json"
    assert judge(folder, "--out", str(old)).returncode == 0
    assert not (folder / "regression.json").exists() and json.loads(old.read_text())["bundle"]
    same = judge(folder, "--baseline", str(old))
    assert same.returncode == 0 and f"{5 * len(TASKS) + 3} passed" in same.stdout
    worse = make(tmp_path / "worse", "reference", noise=0.5)
    newer = tmp_path / "worse.json"
    judge(worse, "--baseline", str(old), "--out", str(newer))
    row = json.loads(newer.read_text())["baseline"]["tasks"]
    assert row["depth"]["verdict"] == "regression" and row["edge"]["drop_relative"] == 0
    better = judge(folder, "--baseline", str(newer), "--two-sided")
    assert better.returncode == 1 and "test_baseline[depth]" in better.stdout and "improvement" in better.stdout


@pytest.mark.slow
def test_a_labelled_folder_is_judged_instead_and_needs_its_reference(tmp_path: Path) -> None:
    folder, data = make(tmp_path / "bundle", "reference"), labelled_folder(tmp_path / "data")
    alone = judge(folder, "--data", str(data), "--out", str(tmp_path / "alone.json"))
    assert alone.returncode == 1 and "the reference was not measured on these images" in alone.stdout
    write_arrays(tmp_path / "arrays.npz", IDS, reference_arrays(), "0" * 64)
    options = ("--data", str(data), "--reference", str(tmp_path / "arrays.npz"), "--out", str(tmp_path / "data.json"))
    done = judge(folder, *options)
    assert done.returncode == 0, done.stdout
    report = json.loads((tmp_path / "data.json").read_text())
    assert (report["images"], report["source"]) == (len(IDS), "data/val") and report["passed"]
    assert report["checks"]["depth"]["agreement"] is None and not (folder / "regression.json").exists()


IDS = tuple(f"image-{index}" for index in range(3, 15))


def labelled_folder(root: Path) -> Path:
    """Some images of tests/bundle/made.py as a labelled folder."""
    examples = {one.id: (one.image, one.labels) for one in evaluated(15) if one.id in IDS}
    return write_folder(root, {"val": IDS}, examples, SPEC).root


def reference_arrays() -> dict[str, dict[str, np.ndarray]]:
    """What the host would measure of the reference on them."""
    chosen = [one for one in evaluated(15) if one.id in IDS]
    return {
        name: {
            figure.name: np.stack(
                [
                    figure.per_image(predict(task(name), one.outputs[name]), decode_label(name, one.labels[name], SPEC))
                    for one in chosen
                ]
            )
            for figure in task(name).figures(channels)
        }
        for name, channels in TASKS.items()
    }
