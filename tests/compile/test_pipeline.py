"""The whole context on a tiny model: what it leaves, what it refuses, and that a kill changes nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import ArtifactError, CheckpointError, ConfigError, DatasetError, InputError, TargetUnavailable
from bundle.formats.artifacts import hash_file
from bundle.formats.contents import MANIFEST, RESULTS
from bundle.formats.engines import write_engine_file
from bundle.formats.hash_files import with_hashes
from bundle.formats.manifest import load_bundle, verify_bundle
from bundle.formats.results import read_result
from bundle.formats.tensorrt_checks import read_lint
from bundle.judging.choice import read_bench, read_choice
from bundle.judging.regression_report import RESULT, read_report
from bundle.judging.sensitivity import SENSITIVITY
from bundle.transport.signature import make_keys
from compile import pipeline
from compile.evaluation import preflight
from compile.evaluation.build_context import prepare_build
from compile.evaluation.preflight import PACKAGES
from compile.evaluation.summary import describe
from compile.pipeline import build_and_judge, build_bundle
from compile.stage.config import BuildConfig, CalibrationConfig, TimingConfig
from compile.stage.store import STORE
from compile.stage_runs import hash_card
from tests.compile import made
from tests.compile.made import STAGES, command, quiet
from tests.contract.flows import EXECUTED_ON, IO, QUANTIZING

ROOT = Path(__file__).resolve().parents[2]
GENEROUS = dict.fromkeys(made.TASKS, 10.0)  # an untrained model has no metric worth a budget


def config(target: str, checkpoint: Path, scenes: Path, out: Path, **changes: object) -> BuildConfig:
    """A build of the tiny model."""
    return BuildConfig(
        target=target,
        checkpoint=checkpoint,
        data=scenes,
        out=out,
        threads=1,
        budgets=GENEROUS,
        timing=TimingConfig(runs=2, warmup=1),
    ).model_copy(update=changes)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in QUANTIZING])
def built(
    request: pytest.FixtureRequest, checkpoint: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BuildConfig, Path]:
    """A bundle of each target, some with tensors and one with camera frames in, and how it was asked for."""
    asked = config(request.param, checkpoint, scenes, tmp_path_factory.mktemp("out"), io=IO[request.param])
    return asked, build_bundle(asked, lambda line: None)


def test_the_bundle_is_whole_and_where_it_belongs(built: tuple[BuildConfig, Path]) -> None:
    asked, folder = built
    manifest = load_bundle(folder).manifest
    assert folder == asked.out / "tiny" / asked.target
    assert {path.name for path in folder.iterdir()} == {*manifest.files, *with_hashes(MANIFEST, *RESULTS)}
    assert manifest.io == IO[asked.target]
    assert manifest.inputs[0].dtype == {"raw": "float32", "edge": "uint8"}[manifest.io]
    assert {variant.name for variant in manifest.variants} >= {
        "int8",
        "f16" if EXECUTED_ON[asked.target] == "emulation" else "f32",
    }
    assert set(manifest.parents) == {"folded", "exported", "simplified", "quantized", "engine", "vectors", "judged"}
    assert json.loads((folder / "fold.json").read_text())


def test_its_results_keep_the_contract(built: tuple[BuildConfig, Path]) -> None:
    asked, folder = built
    report, bench, choice = read_report(folder), read_bench(folder), read_choice(load_bundle(folder))
    assert list(report.tasks) == list(made.TASKS) and report.images == len(made.EVALUATION)
    assert report.executed_on == EXECUTED_ON[asked.target]
    assert bench is not None and choice is not None
    timed = report.executed_on == "device"  # an emulation has no timings
    contract = {"eager_ms", "f32_compiled_ms", "shipped_ms", "shipped_precision", "runs", "warmup"}
    assert contract <= set(json.loads(read_result(folder, "bench.json")))
    assert (bench.eager is not None, bench.load is not None) == (timed, timed)
    assert set(bench.variants) == ({one.name for one in choice.candidates} if timed else set())
    assert all((one.with_copies.p10_ms or 0) > 0 for one in bench.variants.values())
    assert report.precision == bench.shipped_precision == choice.shipped == load_bundle(folder).manifest.shipped
    assert (bench.eager_ms is not None) == timed
    assert load_bundle(folder).manifest.engine.status == ("built" if timed else "deferred")
    assert describe(choice, bench)[-1].startswith(f"shipped: {choice.shipped}, ")


def test_a_jetson_bundle_carries_what_the_rules_and_nvidias_parser_say(built: tuple[BuildConfig, Path]) -> None:
    asked, folder = built
    assert ({"lint.json", "proof.json"} <= set(load_bundle(folder).manifest.files)) == (asked.target == "jetson")
    lint = read_lint(folder)
    for report in () if lint is None else lint.graphs:
        assert (report.errors, report.warnings) == ((), ())


def test_a_second_build_does_nothing(built: tuple[BuildConfig, Path]) -> None:
    asked, folder = built
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    lines: list[str] = []
    assert build_bundle(asked, lines.append) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert len([line for line in lines if "unchanged" in line]) == len(STAGES) + 1
    assert not [line for line in lines if "done in" in line]


def test_what_is_written_into_the_bundle_later_does_not_pass_the_next_build(built: tuple[BuildConfig, Path]) -> None:
    asked, folder = built
    before = read_report(folder)
    later = before.model_copy(update={"passed": not before.passed, "source": "another folder"})
    load_bundle(folder).write(RESULT, later)
    _, report = build_and_judge(asked, lambda line: None)
    assert report == before.model_copy(update={"bundle": None}) and read_report(folder) == later
    load_bundle(folder).write(RESULT, before)


def test_another_judgement_is_another_bundle(built: tuple[BuildConfig, Path]) -> None:
    asked, folder = built
    shutil.rmtree(asked.out / STORE / "judge")
    before = load_bundle(folder).sha256
    _, report = build_and_judge(asked, lambda line: None)
    [judged] = (asked.out / STORE / "judge").glob("*/bench.json")
    after = load_bundle(folder).sha256
    assert json.loads(read_result(folder, "bench.json")) == {**json.loads(judged.read_text()), "bundle": after}
    assert read_report(folder) == report.model_copy(update={"bundle": after})
    assert (after != before) == (report.executed_on == "device")  # an emulation has no timings


def test_the_card_is_part_of_the_question_what_a_frozen_gate_costs(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "model")
    before = hash_card(tmp_path / "model")
    card = tmp_path / "model" / "card.json"
    card.write_text(card.read_text().replace('"nothing"', '"something"'))
    changed = hash_card(tmp_path / "model")
    card.unlink()
    assert len({before, changed, hash_card(tmp_path / "model")}) == 3


def test_a_damaged_bundle_is_refused_by_name_and_published_again(built: tuple[BuildConfig, Path]) -> None:
    asked, folder = built
    good = hash_file(folder / "vectors.npz")
    content = bytearray((folder / "vectors.npz").read_bytes())
    content[100] ^= 1
    (folder / "vectors.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"vectors\.npz was altered"):
        load_bundle(folder)
    build_bundle(asked, lambda line: None)
    assert load_bundle(folder) and hash_file(folder / "vectors.npz") == good


def test_a_flipped_byte_in_any_file_is_refused_by_name(built: tuple[BuildConfig, Path]) -> None:
    _, folder = built
    write_engine_file(folder, "int8.engine", b"what a device would build")
    verify_bundle(folder)
    generator = np.random.default_rng(0)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {*RESULTS, "manifest.json", "fold.json", "vectors.npz", "int8.engine"} <= {path.name for path in files}
    for path in files:
        whole = path.read_bytes()
        for place in {0, len(whole) - 1, *generator.integers(len(whole), size=3).tolist()}:
            spoilt = bytearray(whole)
            spoilt[place] ^= 1 << int(generator.integers(8))
            path.write_bytes(spoilt)
            with pytest.raises(ArtifactError) as caught:
                verify_bundle(folder)
            assert path.name in caught.value.message, (path.name, place)
        path.write_bytes(whole)
    shutil.rmtree(folder / "engines")
    verify_bundle(folder)


def test_budgets_are_part_of_the_question(built: tuple[BuildConfig, Path]) -> None:
    asked, folder = built
    lines: list[str] = []
    stricter = asked.model_copy(update={"budgets": GENEROUS | {"depth": 0.0}})
    build_bundle(stricter, lines.append)
    report = read_report(folder)
    assert report.tasks["depth"].budget == 0.0
    assert not [line for line in lines if line.startswith(("quantize: done", "vectors: done"))]
    assert report.passed == (report.tasks["depth"].verdict == "pass")
    assert load_bundle(folder).manifest.budgets["depth"] == 0.0
    build_bundle(asked, lambda line: None)
    assert read_report(folder).tasks["depth"].budget == 10.0


def test_what_mends_plain_int8_is_searched_for_only_where_the_judgement_says_so(
    built: tuple[BuildConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calibration images of the tiny model have no labels, so the search ends at once; the judgement is not made again."""
    asked, folder = built
    lines: list[str] = []
    build_bundle(asked, lines.append)
    assert "  search: not needed, no variant needs repair" in lines and not (folder / SENSITIVITY).exists()
    monkeypatch.setattr(
        pipeline, "why_search", lambda choice: "int8 is not shown to be within its budgets: depth regression"
    )
    build_bundle(asked, lines.append)
    assert "  search: int8 is not shown to be within its budgets: depth regression" in lines
    assert any("calibration images lack a label" in line for line in lines)
    assert not [line for line in lines if line.startswith(("build: done", "judge: done"))]
    assert SENSITIVITY in load_bundle(folder).manifest.files
    monkeypatch.undo()
    build_bundle(asked, quiet)
    assert not (folder / SENSITIVITY).exists()
    shutil.rmtree(asked.out / STORE / "search")


@pytest.mark.slow
def test_a_cached_build_imports_no_tool_of_a_stage(checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    line = command(checkpoint, scenes, tmp_path / "out")
    subprocess.run(line, check=True, capture_output=True)
    again = subprocess.run([line[0], "-X", "importtime", *line[1:]], check=True, capture_output=True, text=True)
    imported = {
        text.rpartition("|")[2].strip() for text in again.stderr.splitlines() if text.startswith("import time:")
    }
    assert "numpy" in imported and not imported & {"torch", "nncf", "onnx", "onnx_ir", "onnxsim", "lightning"}


class TestRefusals:
    """What cannot be built is refused before a stage runs, and leaves nothing behind."""

    def refuse(self, asked: BuildConfig, error: type[Exception], text: str) -> None:
        """Build; expect the error; see that no bundle is there."""
        with pytest.raises(error, match=text):
            build_bundle(asked, lambda line: None)
        assert not (asked.out / "tiny").exists()

    def test_an_unknown_target(self, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
        self.refuse(config("phone", checkpoint, scenes, tmp_path), ConfigError, "unknown target 'phone'")

    def test_a_missing_checkpoint(self, scenes: Path, tmp_path: Path) -> None:
        self.refuse(config("jetson", tmp_path / "none", scenes, tmp_path), ConfigError, "configuration is missing")

    def test_a_missing_split(self, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
        asked = config("jetson", checkpoint, scenes, tmp_path, calibration=CalibrationConfig(split="train"))
        self.refuse(asked, DatasetError, "no split 'train'")

    def test_a_budget_for_another_task(self, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
        asked = config("jetson", checkpoint, scenes, tmp_path, budgets={"flow": 0.1})
        self.refuse(asked, ConfigError, "budget for 'flow'")

    def test_a_key_that_cannot_sign(self, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
        make_keys(tmp_path / "key")
        for key in (tmp_path / "none", tmp_path / "key.pub", checkpoint / "config.toml"):
            asked = config("jetson", checkpoint, scenes, tmp_path / "out", sign=key)
            self.refuse(asked, InputError, "this is no private key")

    def test_without_the_library_that_signs(
        self, checkpoint: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_keys(tmp_path / "key")
        monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
        asked = config("jetson", checkpoint, scenes, tmp_path / "out", sign=tmp_path / "key")
        self.refuse(asked, TargetUnavailable, "a signature needs cryptography")

    @pytest.mark.parametrize("package", PACKAGES)
    def test_without_a_package_of_a_later_stage(
        self, checkpoint: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
    ) -> None:
        monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == package else name)
        self.refuse(config("jetson", checkpoint, scenes, tmp_path / "out"), TargetUnavailable, f"needs {package}")

    def test_without_the_library_that_spreads(
        self, checkpoint: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == "distributed" else name)
        asked = config("jetson", checkpoint, scenes, tmp_path / "out", workers=2)
        self.refuse(asked, TargetUnavailable, "a cluster needs distributed")

    @pytest.mark.parametrize("name", ["x" * 300, "a/b", "..", "x\\u0000y", ""])
    def test_a_name_that_no_bundle_can_have(self, checkpoint: Path, scenes: Path, tmp_path: Path, name: str) -> None:
        copy = shutil.copytree(checkpoint, tmp_path / "checkpoint")
        text = (copy / "config.toml").read_text()
        (copy / "config.toml").write_text(text.replace('name = "tiny"', f'name = "{name}"'))
        self.refuse(config("jetson", copy, scenes, tmp_path / "out"), ConfigError, "name: ")

    def test_an_output_that_cannot_be_written(self, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        for out in (tmp_path / "file", tmp_path / "file" / "out", Path("/proc/out"), tmp_path / ("x" * 300)):
            with pytest.raises(InputError):
                build_bundle(config("jetson", checkpoint, scenes, out), quiet)
        assert (tmp_path / "file").read_text() == "mine"

    def test_an_output_inside_an_input(self, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
        for out in (scenes, scenes / "build", checkpoint / "build"):
            with pytest.raises(InputError, match="the output is inside an input"):
                build_bundle(config("jetson", checkpoint, scenes, out), quiet)
            assert not (out / STORE).exists()

    def test_something_else_where_the_bundle_belongs(self, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
        folder = tmp_path / "tiny" / "jetson"
        folder.mkdir(parents=True)
        (folder / "thesis.txt").write_text("five years")
        with pytest.raises(InputError, match="there is something here"):
            build_bundle(config("jetson", checkpoint, scenes, tmp_path), quiet)
        assert (folder / "thesis.txt").read_text() == "five years" and not (tmp_path / STORE).exists()

    def test_an_evaluation_that_lacks_something(self, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
        data = shutil.copytree(scenes, tmp_path / "scenes")
        last = made.EVALUATION[-1]
        asked = config("jetson", checkpoint, data, tmp_path / "out")
        (data / "depth" / f"{last}.png").rename(tmp_path / "label.png")
        self.refuse(asked, DatasetError, "the depth label is missing")
        (tmp_path / "label.png").rename(data / "depth" / f"{last}.png")
        [image] = (data / "image").glob(f"{last}.*")
        Image.fromarray(made.image(1)[:16]).save(image)
        self.refuse(asked, DatasetError, "another size than the model takes")
        image.unlink()
        self.refuse(asked, DatasetError, f"image '{last}' has no file")
        (data / "val.txt").unlink()
        self.refuse(asked, DatasetError, "no split 'val'")

    def test_data_of_other_classes(self, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
        spec = tmp_path / "other.json"
        classes = {
            "classes": {**made.SPEC.classes, "semseg": ("wall", "floor")},
            "palettes": {**made.SPEC.palettes, "semseg": ((0, 0, 0), (9, 9, 9))},
        }
        spec.write_text(made.SPEC.model_copy(update=classes).model_dump_json())
        self.refuse(config("jetson", checkpoint, scenes, tmp_path, dataset=spec), DatasetError, "disagree on semseg")

    def test_a_pickle_in_place_of_weights(self, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
        copy = tmp_path / "checkpoint"
        shutil.copytree(checkpoint, copy)
        (copy / "model.safetensors").write_bytes(b"\x80\x04\x95\x10\x00\x00\x00}\x94.")
        self.refuse(config("jetson", copy, scenes, tmp_path), CheckpointError, "safetensors")


def test_a_budget_for_a_task_that_is_left_out_is_ignored_and_said(
    checkpoint: Path, scenes: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    asked = config("jetson", checkpoint, scenes, tmp_path, tasks=("depth",), budgets={"depth": 0.5, "edge": 0.2})
    context = prepare_build(asked, lines.append)
    assert context.budgets == {"depth": 0.5} and "budgets: ignored for edge: this build leaves the task out" in lines
    assert f"evaluation: only {len(made.EVALUATION)} images of the 100 asked for" in lines and not list(
        tmp_path.iterdir()
    )


def test_a_file_beside_the_bundles_own_is_never_lost(built: tuple[BuildConfig, Path]) -> None:
    asked, folder = built
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"there is something here(.|\n)*notes\.txt"):
        build_bundle(asked, quiet)
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
