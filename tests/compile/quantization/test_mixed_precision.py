"""Which layers go back to float, and that the search asks calibration images only, resumes, and says what it found."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bundle.base.errors import ArtifactError, GraphError
from bundle.formats.artifacts import Quantized, Simplified, load
from bundle.judging.sensitivity import (
    NOTHING_DB,
    SENSITIVITY,
    LayerSensitivity,
    SearchConfig,
    SearchReport,
    Step,
    TaskDrop,
    read_sensitivity,
)
from bundle.judging.sentences import search_ended, step_ended
from bundle.tasks.dataset import FolderDataset
from calibration.sampling import CalibrationSet, from_folder
from compile.evaluation.summary import describe_costs
from compile.quantization import mixed_precision as stage
from compile.quantization import sensitivity
from compile.quantization.accuracy import AccuracyEvaluator
from compile.quantization.contenders import MIXED, SMOOTH
from compile.quantization.mixed_precision import search
from compile.quantization.sensitivity import task_sqnr_db
from compile.quantization.steering import Aim, broken
from compile.quantization.variants import QuantizationJob
from compile.quantize import quantize
from compile.stage.artifacts import QuantizedSettings, variants_of
from compile.stage.config import SearchSettings
from compile.stage.graph_info import read_settings
from compile.stage.parts import Spread
from compile.stage.store import Kept
from targets.base import RunConfig, VariantRecipe
from targets.table import TARGETS
from tests.compile import made
from tests.contract.flows import QUANTIZING

RUN = RunConfig(threads=1)
RAW = pytest.mark.parametrize("io", ["raw"], indirect=True)


def layer(name: str, share: float, **sqnr_db: float) -> LayerSensitivity:
    """A layer with these SQNRs by task."""
    return LayerSensitivity(name=name, macs_share=share, sqnr_db=sqnr_db, drop=dict.fromkeys(sqnr_db, 0.0))


def standing(low: float, high: float) -> TaskDrop:
    """A task with this interval."""
    return TaskDrop(drop=(low + high) / 2, interval=(low, high), verdict="pass")


def made_step(
    tasks: dict[str, TaskDrop], *, broken: tuple[str, ...] = (), passed: bool = False, near: bool = False
) -> Step:
    """A step of plain INT8."""
    return Step(
        layers_in_float=0, macs_share=0.0, tasks=tasks, broken=broken, passed=passed, near=near, smooth=False, noise={}
    )


def test_a_task_with_an_undefined_metric_is_not_searched_for_and_is_named() -> None:
    nothing = float("nan")
    unlabelled = TaskDrop(drop=nothing, interval=(nothing, nothing), verdict="inconclusive")
    lost = TaskDrop(drop=float("inf"), interval=(nothing, nothing), verdict="regression")
    tasks = {"depth": standing(0.0, 0.001), "edge": unlabelled, "semseg": lost}
    assert broken(tasks, Aim(dict.fromkeys(tasks, 0.01), 0.5)) == ("semseg",)
    step = made_step(tasks, broken=("semseg",))
    assert Step.model_validate_json(step.model_dump_json()).tasks["edge"].defined is False
    assert step_ended(step, 0.5) == "not held: semseg; undefined on these images: edge"


def test_noise_of_class_maps_is_that_of_one_hot_maps_and_stays_within_what_a_file_holds() -> None:
    classes = np.array([[0, 40, 3, 3]], np.uint8)
    wrong = np.array([[0, 1, 3, 3]], np.uint8)
    assert task_sqnr_db([classes, classes], [wrong, classes]) == pytest.approx(10 * np.log10(8 / 2))
    reference = [np.array([3.0, 4.0], np.float32), np.array([0.0, 5.0], np.float32)]
    noisy = [np.array([3.0, 4.5], np.float32), np.array([0.5, 5.0], np.float32)]
    assert task_sqnr_db(reference, noisy) == pytest.approx(10 * np.log10(50 / 0.5))
    assert task_sqnr_db(reference, reference) == NOTHING_DB
    assert task_sqnr_db(reference, [one * np.float32("nan") for one in reference]) == -NOTHING_DB
    assert task_sqnr_db([one * 0 for one in reference], reference) == -NOTHING_DB


def _read(folder: Path) -> SearchReport:
    report = read_sensitivity(folder)
    assert report is not None
    return report


def test_a_report_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / SENSITIVITY).write_text("{}")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_sensitivity(tmp_path)


@pytest.fixture(scope="module")
def drawn(scenes: Path) -> CalibrationSet:
    """Calibration images that have labels."""
    return from_folder(scenes, "val", 4, seed=0, preprocess=made.INFO["raw"].preprocess)


def test_the_layers_that_cost_most_are_named(tmp_path: Path) -> None:
    rows = (layer("loud", 0.1, depth=20.0), layer("soft", 0.1, depth=30.0))
    report = SearchReport(result="int8_holds", config=SearchConfig(), budgets={}, layers=rows)
    path = tmp_path / SENSITIVITY
    path.write_text(report.model_dump_json())
    assert describe_costs(_read(path.parent), ["depth"]) == ["  depth: its noise comes from loud 91%, soft 9%"]
    assert describe_costs(None, ["depth"]) == []


EACH = pytest.mark.parametrize("quantized", QUANTIZING, indirect=True)
ONE = pytest.mark.parametrize("quantized", ["jetson"], indirect=True)


@pytest.fixture(scope="module")
def quantized(
    request: pytest.FixtureRequest,
    simplified: Simplified,
    drawn: CalibrationSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> Quantized:
    """Every variant of the tiny model for a target."""
    out = tmp_path_factory.mktemp("quantized") / request.param
    return quantize(simplified, drawn, out, TARGETS[request.param], RUN, cache=out.parent / "cache")


def ask(
    quantized: Quantized,
    simplified: Simplified,
    drawn: CalibrationSet,
    scenes: Path,
    out: Path,
    *,
    budget: float,
    spread: Spread | None = None,
    **config: float,
) -> tuple[Quantized, list[str]]:
    """Search with one budget for all tasks; return the artifact and the lines of progress."""
    target = TARGETS[read_settings(QuantizedSettings, quantized).target]
    settings = SearchSettings(
        FolderDataset(root=scenes, spec=made.SPEC),
        dict.fromkeys(made.TASKS, budget),
        0,
        SearchConfig.model_validate({"images": 1, **config}),
    )
    lines: list[str] = []
    places = spread or Spread(quantized.folder.parent / "cache")
    search(quantized, simplified, drawn, out, target, RUN, settings, spread=places, progress=lines.append)
    return load(Quantized, out), lines


def parts(stage: Path) -> dict[str, dict[str, str]]:
    """The files and hashes of the parts of one stage in a store."""
    return {path.name: load(Kept, path).record.files for path in stage.glob("[!.]*/")}


@RAW
class TestSearch:
    """The whole search on the tiny model."""

    @pytest.mark.slow
    @EACH
    def test_a_budget_that_breaks_brings_a_mixed_graph_within_the_limit(
        self, quantized: Quantized, simplified: Simplified, drawn: CalibrationSet, scenes: Path, tmp_path: Path
    ) -> None:
        """A budget that plain INT8 keeps, but not with the margin: less noise is foreseen to, so a shorter or the longest prefix is tried."""
        plain, _ = ask(quantized, simplified, drawn, scenes, tmp_path / "plain", budget=50.0)
        [step] = _read(plain.folder).steps
        reach = max(abs(end) for one in step.tasks.values() if one.defined for end in one.interval)
        found, lines = ask(quantized, simplified, drawn, scenes, tmp_path / "out", budget=1.8 * reach, limit=0.95)
        report = _read(found.folder)
        variants = {one.recipe.name: one for one in variants_of(found)}
        assert {name for one in variants.values() for name in one.files} <= set(found.record.files)
        assert (SMOOTH in variants) == any(name.startswith(SMOOTH) for name in found.record.files)
        if report.steps[-1].smooth:
            assert report.steps[-1].held and MIXED not in variants
            return
        mixed = variants[MIXED]
        assert set(mixed.files) <= set(found.record.files) and mixed.recipe.graph == "mixed"
        assert 0 < len(report.layers_in_float) <= len(report.layers)
        assert sum(row.macs_share for row in report.layers if row.name in report.layers_in_float) <= 0.95
        assert any(line.startswith("sensitivity: ") for line in lines)
        assert all(list(row.sqnr_db) == list(made.TASKS) for row in report.layers)
        worst = [name for name in report.budgets if abs(step.tasks[name].interval[1]) > 0.9 * reach]
        assert all(report.steps[-1].noise[name] < step.noise[name] for name in worst)

    @pytest.mark.slow
    @ONE
    def test_where_no_graph_can_decide_it_stops_before_one_is_made_and_says_why(
        self,
        quantized: Quantized,
        simplified: Simplified,
        drawn: CalibrationSet,
        scenes: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tried: list[str] = []
        original = stage.write_quantized

        def counted(recipe: VariantRecipe, *rest: object) -> object:
            tried.append(recipe.name)
            return original(recipe, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(stage, "write_quantized", counted)
        found, _ = ask(quantized, simplified, drawn, scenes, tmp_path / "out", budget=1e-7, limit=0.5)
        report = _read(found.folder)
        assert tried == [SMOOTH] and variants_of(found) == variants_of(quantized) and len(report.steps) == 1
        assert report.result == "undecidable" and set(report.forecast) == set(report.steps[0].broken)
        assert all(0 <= task.noise_left < 1 for task in report.forecast.values())
        assert "no graph can decide it within 50.0% of the MACs" in search_ended(report)
        assert report.layers and not report.layers_in_float and report.enough is not None and report.enough > 0.5

    @pytest.mark.slow
    @ONE
    def test_where_no_layer_fits_into_the_limit_there_is_no_mixed_graph_and_the_report_says_so(
        self, quantized: Quantized, simplified: Simplified, drawn: CalibrationSet, scenes: Path, tmp_path: Path
    ) -> None:
        found, _ = ask(quantized, simplified, drawn, scenes, tmp_path / "out", budget=1e-7, limit=1e-6)
        report = _read(found.folder)
        assert MIXED not in {one.recipe.name for one in variants_of(found)}
        assert report.result == "no_layer_fits" and report.layers and not report.layers_in_float

    @pytest.mark.slow
    @EACH
    def test_where_smoothquant_holds_every_task_no_layer_is_measured(
        self,
        quantized: Quantized,
        simplified: Simplified,
        drawn: CalibrationSet,
        scenes: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tried = stage._try
        loud = [1.0]  # plain INT8 is measured first
        monkeypatch.setattr(stage, "noise_of", lambda *given: dict.fromkeys(made.TASKS, loud.pop() if loud else 0.0))

        def holds(*given: object, smooth: bool = False, **more: float) -> Step:
            return tried(*given, smooth=smooth, **more).model_copy(
                update={"broken": () if smooth else tuple(made.TASKS)}
            )  # type: ignore[arg-type]

        monkeypatch.setattr(stage, "_try", holds)
        found, _ = ask(quantized, simplified, drawn, scenes, tmp_path / "out", budget=1e-7)
        added = variants_of(found)[len(variants_of(quantized)) :]
        assert [one.recipe.name for one in added] == [SMOOTH] and set(added[0].files) <= set(found.record.files)
        scheme = read_settings(QuantizedSettings, found).notes[SMOOTH].scheme
        assert scheme is not None and scheme.smooth_quant_alpha == 0.95
        assert "broke a budget" in scheme.reasons["smooth_quant_alpha"]
        report = _read(found.folder)
        assert (report.result, report.layers, report.steps[-1].smooth) == ("smooth_holds", (), True)
        assert search_ended(report).startswith("SmoothQuant, no layer in float: every task holds; on fewer than 10")

    @pytest.mark.slow
    @ONE
    def test_a_graph_that_smoothquant_cannot_do_is_searched_without_it(
        self,
        quantized: Quantized,
        simplified: Simplified,
        drawn: CalibrationSet,
        scenes: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        original = stage.write_quantized

        def refuses(recipe: VariantRecipe, job: QuantizationJob, *rest: object) -> object:
            if recipe.name == SMOOTH:
                (job.folder / f"{SMOOTH}.onnx").write_bytes(b"half a graph")
                raise GraphError("NNCF refuses this graph", expected="a", got="a crash", where="c", fix="d")
            return original(recipe, job, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(stage, "write_quantized", refuses)
        found, lines = ask(quantized, simplified, drawn, scenes, tmp_path / "out", budget=1e-7, limit=0.9)
        assert _read(found.folder).layers
        assert "search: without SmoothQuant, for it cannot be done here: a crash" in lines
        assert not [path for path in found.folder.iterdir() if SMOOTH in path.name]

    @pytest.mark.slow
    @ONE
    def test_it_goes_on_from_what_a_killed_run_left(
        self,
        quantized: Quantized,
        simplified: Simplified,
        drawn: CalibrationSet,
        scenes: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        ask(quantized, simplified, drawn, scenes, tmp_path / "first", budget=1e-7)
        [entry, *others] = sorted((quantized.folder.parent / "cache" / "layers").glob("[!.]*/"))
        lost = (entry / sensitivity.ROWS).read_text().splitlines()
        shutil.rmtree(entry)
        measured: list[int] = []
        original = sensitivity.Subject.measure

        def counted(subject: sensitivity.Subject, returned: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
            measured.append(len(returned))
            return original(subject, returned)

        monkeypatch.setattr(sensitivity.Subject, "measure", counted)
        ask(quantized, simplified, drawn, scenes, tmp_path / "second", budget=1e-7)
        assert len(measured) == len(lost) and others
        assert (entry / sensitivity.ROWS).read_text().splitlines() == lost

    @pytest.mark.slow
    @ONE
    def test_workers_find_what_this_process_finds(
        self, quantized: Quantized, simplified: Simplified, drawn: CalibrationSet, scenes: Path, tmp_path: Path
    ) -> None:
        pytest.importorskip("distributed", reason="the extra cluster is not installed")
        here, _ = ask(quantized, simplified, drawn, scenes, tmp_path / "here", budget=1e-7, limit=0.5)
        store = tmp_path / "store"
        shutil.copytree(quantized.folder.parent / "cache" / "calibrate", store / "calibrate")
        with Spread(store, workers=2) as spread:
            there, lines = ask(
                quantized, simplified, drawn, scenes, tmp_path / "there", budget=1e-7, spread=spread, limit=0.5
            )
        assert there.record == here.record and _read(there.folder).layers
        assert any(line.startswith("sensitivity: ") for line in lines)
        for name in ("trial", "layers"):
            assert parts(store / name).items() <= parts(quantized.folder.parent / "cache" / name).items()

    @ONE
    def test_generous_budgets_need_no_search(
        self, quantized: Quantized, simplified: Simplified, drawn: CalibrationSet, scenes: Path, tmp_path: Path
    ) -> None:
        found, _ = ask(quantized, simplified, drawn, scenes, tmp_path / "out", budget=50.0)
        assert _read(found.folder).result == "int8_holds"
        assert variants_of(found) == variants_of(quantized)

    @ONE
    def test_without_labels_it_says_so(
        self, quantized: Quantized, simplified: Simplified, calibration: CalibrationSet, scenes: Path, tmp_path: Path
    ) -> None:
        found, _ = ask(quantized, simplified, calibration, scenes, tmp_path / "out", budget=1e-7)
        report = _read(found.folder)
        assert (report.result, report.unlabelled, report.calibration_images, report.layers) == ("no_labels", 6, 6, ())
        assert search_ended(report) == "not searched: 6 of 6 calibration images lack a label"


def test_few_images_still_rank_graphs_and_their_number_is_said() -> None:
    """The search asks for no minimum: on one image plain INT8 that changes nothing holds, and no layer goes back to float."""
    one = np.array([[0.5, 1.0]])
    info = made.INFO["raw"].model_copy(update={"tasks": {"depth": 1}})
    evaluator = AccuracyEvaluator([], info, {"depth": 0.01}, seed=0)
    evaluator._reference = {"depth": one}
    same, worse = (evaluator.judge({"depth": one * by}) for by in ((1.0, 1), (4.0, 1)))
    assert (same["depth"].verdict, same["depth"].thin, worse["depth"].verdict) == ("pass", True, "regression")
    assert [broken(one, Aim({"depth": 0.01}, 0.5)) for one in (same, worse)] == [(), ("depth",)]
    held = made_step(same, passed=True, near=True)
    assert step_ended(held, 0.5) == "every task holds; on fewer than 10 labelled images, which show little: depth 1"
    enough = same["depth"].model_copy(update={"labelled_images": 10})
    assert step_ended(held.model_copy(update={"tasks": {"depth": enough}}), 0.5) == "every task holds"
