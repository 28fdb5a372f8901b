"""The harness: its contract with the readers of regression.json, and that a broken model fails and never crashes it."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.base.errors import ArtifactError, RegressionFailed
from bundle.formats.artifacts import hash_file
from bundle.formats.contents import VECTORS
from bundle.formats.io_forms import Io
from bundle.formats.manifest import Bundle
from bundle.formats.vectors import FULL, Evaluated, Vectors, write_vectors
from bundle.judging import wording
from bundle.judging.checks import require_passed, sentence
from bundle.judging.evaluate_image import feed
from bundle.judging.regression_report import RegressionReport, VariantRow, read_report, variant_tasks
from bundle.judging.run import run
from bundle.tasks.postprocess import predict
from bundle.tasks.spec import Array
from bundle.tasks.table import TASKS as ROWS
from bundle.tasks.table import Task, task
from tests.bundle.made import HERE, PREPROCESS, SPEC, TASKS, evaluated, image, make_bundle, model, session, unchanged

COUNT = 12
Infer = Callable[[dict[str, Array]], dict[str, Array]]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[Io, Bundle]:
    root = tmp_path_factory.mktemp("bundles")
    ios: tuple[Io, ...] = ("raw", "edge", "nchw", "nhwc")
    return {io: make_bundle(root / io, io=io, count=COUNT) for io in ios}


def judge(bundle: Bundle, infer: Infer, **options: bool) -> RegressionReport:
    return run(bundle, infer, HERE, resamples=400, **options)


def noisy(only: str, scale: float) -> Callable[[str, Array], Array]:
    random = np.random.default_rng(0)

    def change(name: str, raw: Array) -> Array:
        return raw + random.normal(scale=scale, size=raw.shape).astype(np.float32) if name == only else raw

    return change


@pytest.mark.parametrize("io", ["raw", "edge", "nchw", "nhwc"])
def test_the_reference_itself_passes_with_no_difference(bundles: dict[Io, Bundle], io: Io) -> None:
    report = judge(bundles[io], session(io))
    assert report.passed and report.images == COUNT and report.delta_m == 0.0
    for name, result in report.tasks.items():
        assert (result.verdict, result.drop_relative, result.interval, result.sqnr_db) == (
            "pass",
            0.0,
            (0.0, 0.0),
            None,
        )
        assert result.compiled == result.reference and report.checks[name].agreement > 0.99


@pytest.mark.parametrize("io", ["raw", "edge"])
@pytest.mark.parametrize("name", list(TASKS))
def test_only_the_worse_task_fails(bundles: dict[Io, Bundle], io: Io, name: str) -> None:
    report = judge(bundles[io], session(io, noisy(name, 1.5)))
    verdicts = {key: result.verdict for key, result in report.tasks.items()}
    assert verdicts == {**dict.fromkeys(TASKS, "pass"), name: "regression"} and not report.passed
    result = report.tasks[name]
    assert result.drop_relative is not None and result.drop_relative > 0.01
    assert report.delta_m == pytest.approx(-100 * result.drop_relative / len(TASKS))
    with pytest.raises(RegressionFailed, match=f"{name}: {re.escape(wording.metric_name(result.metric))} ") as caught:
        require_passed(report)
    assert "budget 1%" in str(caught.value) and caught.value.exit_code == 1


def test_both_interfaces_judge_alike(bundles: dict[Io, Bundle]) -> None:
    raw, edge = (judge(bundles[io], session(io, noisy("depth", 0.2))) for io in ("raw", "edge"))
    for name in TASKS:
        one, other = raw.tasks[name].model_dump(), edge.tasks[name].model_dump()
        del one["sqnr_db"], other["sqnr_db"]
        assert one == other


def test_the_keys_are_the_contracts(bundles: dict[Io, Bundle], tmp_path: Path) -> None:
    report = judge(bundles["raw"], session("raw", noisy("depth", 0.2)))
    written = json.loads(report.text())
    assert list(written) == [
        "bundle",
        "schema",
        "model",
        "target",
        "device",
        "precision",
        "executed_on",
        "images",
        "tasks",
        "delta_m",
        "passed",
        "variants",
        "delta_m_interval",
        "gate",
        "source",
        "variant",
        "chosen_by",
        "chosen",
        "session",
        "checks",
        "baseline",
        "arrays",
    ]
    assert written["schema"] == 3 and written["device"] == {"name": "test", "isa": ["none"]}
    assert list(written["tasks"]) == list(TASKS)
    for row in ROWS:
        result = written["tasks"][row.name]
        assert list(result) == [
            "metric",
            "direction",
            "reference",
            "compiled",
            "drop_relative",
            "interval",
            "budget",
            "verdict",
            "cause",
            "sqnr_db",
            "labelled_images",
            "images_needed",
            "figures",
        ]
        assert (result["metric"], result["direction"], result["budget"]) == (row.metric, row.direction, row.budget)
    (tmp_path / "regression.json").write_text(report.text())
    assert read_report(tmp_path) == report


def test_the_rows_of_the_variants_survive_the_file(bundles: dict[Io, Bundle], tmp_path: Path) -> None:
    report = judge(bundles["raw"], session("raw", noisy("depth", 0.2)))
    tried = VariantRow(
        name="int8", precision="int8", tasks=variant_tasks(report), passed=False, median_ms=7.5, bytes=10, isa=("avx2",)
    )
    skipped = VariantRow(name="f16", precision="f16", passed=False, bytes=20, reason="this processor has no FP16")
    (tmp_path / "regression.json").write_text(report.model_copy(update={"variants": (tried, skipped)}).text())
    assert read_report(tmp_path).variants == (tried, skipped)
    assert tried.tasks["depth"].drop_relative == report.tasks["depth"].drop_relative
    assert json.loads((tmp_path / "regression.json").read_text())["variants"][1]["median_ms"] is None


@pytest.mark.parametrize("io", ["raw", "edge"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_fails_its_task_and_no_other(
    bundles: dict[Io, Bundle], tmp_path: Path, io: Io, value: float
) -> None:
    calls = 0
    good = session(io)

    def infer(feed: dict[str, Array]) -> dict[str, Array]:
        nonlocal calls
        calls += 1
        outputs = good(feed)
        if calls == 3:
            outputs["normals"][0, 0, 4, 5] = value
        return outputs

    report = judge(bundles[io], infer)
    result = report.tasks["normals"]
    assert (result.verdict, result.compiled, result.drop_relative, result.interval) == (
        "regression",
        None,
        None,
        (None, None),
    )
    assert result.sqnr_db is None and report.delta_m is None and not report.passed
    assert report.checks["normals"].nonfinite_images == 1
    assert [name for name, other in report.tasks.items() if other.verdict != "pass"] == ["normals"]
    (tmp_path / "regression.json").write_text(report.text())
    assert "NaN" not in report.text() and read_report(tmp_path).tasks == report.tasks
    with pytest.raises(RegressionFailed, match="the output is not finite on 1 image: image-2"):
        require_passed(report)


def dropped(outputs: dict[str, Array]) -> None:
    del outputs["depth"]


def renamed(outputs: dict[str, Array]) -> None:
    outputs["distance"] = outputs.pop("depth")


def resized(outputs: dict[str, Array]) -> None:
    outputs["depth"] = outputs["depth"][..., :-1]


def widened(outputs: dict[str, Array]) -> None:
    outputs["depth"] = outputs["depth"].astype(np.float64)


def unbatched(outputs: dict[str, Array]) -> None:
    outputs["depth"] = outputs["depth"][0]


@pytest.mark.parametrize("io", ["raw", "edge"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (dropped, "other names"),
        (renamed, "other names"),
        (resized, "output 'depth' has the wrong dtype or shape"),
        (widened, "output 'depth' has the wrong dtype or shape"),
        (unbatched, "output 'depth' has the wrong dtype or shape"),
    ],
)
def test_outputs_the_manifest_does_not_promise_are_refused(
    bundles: dict[Io, Bundle], io: Io, spoil: Callable[[dict[str, Array]], None], message: str
) -> None:
    def infer(feed: dict[str, Array]) -> dict[str, Array]:
        outputs = session(io)(feed)
        spoil(outputs)
        return outputs

    with pytest.raises(ArtifactError, match=message) as caught:
        judge(bundles[io], infer)
    assert "image 'image-0'" in str(caught.value)


def test_a_class_that_does_not_exist_is_refused(bundles: dict[Io, Bundle]) -> None:
    def infer(feed: dict[str, Array]) -> dict[str, Array]:
        return session("edge")(feed) | {"semseg": np.full((1, 24, 32), 4, np.uint8)}

    with pytest.raises(ArtifactError, match="output 'semseg' holds a value that means nothing"):
        judge(bundles["edge"], infer)


def test_a_bundle_whose_vectors_are_of_other_tasks_is_refused(bundles: dict[Io, Bundle]) -> None:
    bundle = bundles["raw"]
    fewer = bundle.manifest.model_copy(update={"tasks": {"depth": 1}, "budgets": {"depth": 0.01}})
    with pytest.raises(ArtifactError, match="name different tasks"):
        judge(bundle.model_copy(update={"manifest": fewer}), session("raw"))


@pytest.mark.parametrize("allowed", [False, True])
def test_an_inconclusive_verdict_fails_unless_allowed(bundles: dict[Io, Bundle], allowed: bool) -> None:
    state = np.random.default_rng(3)

    def sometimes(name: str, raw: Array) -> Array:
        return raw + np.float32(state.choice([-0.3, 0.3])) if name == "depth" else raw

    bundle = bundles["raw"]
    probe = judge(bundle, session("raw", sometimes)).tasks["depth"]
    assert probe.interval[0] is not None and probe.interval[1] is not None
    between = bundle.manifest.model_copy(
        update={"budgets": {**bundle.manifest.budgets, "depth": max(0.0, sum(probe.interval) / 2)}}  # type: ignore[arg-type]
    )
    state = np.random.default_rng(3)
    report = judge(
        bundle.model_copy(update={"manifest": between}), session("raw", sometimes), allow_inconclusive=allowed
    )
    assert report.tasks["depth"].verdict == "inconclusive" and report.passed is allowed


def test_sqnr_is_the_textbook_formula_over_the_full_outputs(bundles: dict[Io, Bundle]) -> None:
    report = judge(bundles["raw"], session("raw", lambda name, raw: raw * np.float32(1.01)))
    for name in TASKS:
        assert report.tasks[name].sqnr_db == pytest.approx(40.0, abs=0.01)  # 20·log10(1 / 0.01)


def test_sqnr_of_a_label_map_is_of_one_hot_maps(bundles: dict[Io, Bundle]) -> None:
    def change(name: str, raw: Array) -> Array:
        swapped = raw.copy()
        swapped[:, :, :6] = raw[:, ::-1, :6]
        return swapped if name == "semseg" else raw

    got = judge(bundles["edge"], session("edge", change)).tasks["semseg"].sqnr_db
    signal = noise = 0.0
    for index in range(FULL):
        raw = model(PREPROCESS.apply(image(index)))["semseg"]
        one, other = (np.eye(4)[predict(task("semseg"), r[0])] for r in (raw, change("semseg", raw)))
        signal, noise = signal + (one**2).sum(), noise + ((one - other) ** 2).sum()
    assert got == pytest.approx(10 * np.log10(signal / noise))


def test_the_feed_is_what_the_interface_says(bundles: dict[Io, Bundle]) -> None:
    for io, bundle in bundles.items():
        with Vectors(bundle.vectors) as vectors:
            array = feed(bundle.manifest, next(vectors.images()))["image"]
        spec = bundle.manifest.inputs[0]
        assert (str(array.dtype), array.shape) == (spec.dtype, spec.shape), io


def test_the_seed_makes_a_report_reproducible(bundles: dict[Io, Bundle]) -> None:
    one, other = (judge(bundles["raw"], session("raw", noisy("edge", 0.3))) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_agreement_is_1_for_equal_and_low_for_opposite_predictions(row: Task) -> None:
    kind, none, all_ = row.kind, np.zeros((4, 4)), np.ones((4, 4))
    one, other = (np.stack([all_, none, none]), np.stack([-all_, none, none])) if kind.axes else (none, all_)
    one, other = one.astype(kind.dtype), other.astype(kind.dtype)
    assert kind.agreement(one, one) == kind.agreement(other, other) == 1.0
    assert kind.agreement(one, other) == kind.agreement(other, one) == 0.0


def test_a_sentence_names_task_metric_drop_interval_and_budget(bundles: dict[Io, Bundle]) -> None:
    report = judge(bundles["raw"], session("raw", unchanged))
    text = sentence("depth", report.tasks["depth"])
    assert text.startswith("depth: RMSE ") and text.endswith(
        "drop 0.00% [0.00%, 0.00%], budget 1%, 12 labelled images: pass"
    )


@pytest.mark.parametrize("text", [None, "{}", "nothing"])
def test_a_report_that_cannot_be_read_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "regression.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"regression\.json cannot be read"):
        read_report(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_a_report_of_an_older_schema_is_refused_with_what_to_do(
    bundles: dict[Io, Bundle], tmp_path: Path, version: int
) -> None:
    written = json.loads(judge(bundles["raw"], session("raw")).text())
    (tmp_path / "regression.json").write_text(json.dumps({**written, "schema": version}))
    with pytest.raises(ArtifactError, match=r"regression\.json cannot be read") as caught:
        read_report(tmp_path)
    assert caught.value.got.startswith("schema: ") and "run pytest tests/regression" in caught.value.fix


@pytest.mark.parametrize("count", [1, 9])
def test_a_bundle_of_few_images_is_inconclusive_on_every_task(tmp_path: Path, count: int) -> None:
    report = judge(make_bundle(tmp_path / "few", count=count), session("raw"))
    assert {result.verdict for result in report.tasks.values()} == {"inconclusive"} and not report.passed
    assert all(
        (result.labelled_images or 0) <= count and result.interval == (None, None) for result in report.tasks.values()
    )
    with pytest.raises(
        RegressionFailed, match=f"{count} of {count} images have a label for this task, and a verdict needs 10"
    ):
        require_passed(report)


def test_a_task_that_is_labelled_on_few_images_is_inconclusive_and_no_other(tmp_path: Path) -> None:
    """Every image has a depth map, but only three hold a valid pixel."""

    def images() -> Iterator[Evaluated]:
        for number, one in enumerate(evaluated(COUNT)):
            empty = {"depth": np.zeros_like(one.labels["depth"])} if number >= 3 else {}
            yield replace(one, labels={**one.labels, **empty})

    bundle = make_bundle(tmp_path / "sparse", count=COUNT)
    path = bundle.folder / VECTORS
    path.unlink()
    write_vectors(path, images(), tasks=TASKS, spec=SPEC)
    listed = {**bundle.manifest.files, VECTORS: hash_file(path)}
    bundle = bundle.model_copy(update={"manifest": bundle.manifest.model_copy(update={"files": listed})})
    report = judge(bundle, session("raw"))
    depth = report.tasks["depth"]
    assert (depth.verdict, depth.labelled_images, depth.images_needed) == ("inconclusive", 3, 40)
    assert {one.verdict for name, one in report.tasks.items() if name != "depth"} == {"pass"}
    assert report.delta_m_interval == (None, None) and report.delta_m == 0.0
    poisoned = judge(bundle, session("raw", lambda name, raw: raw * np.nan if name == "depth" else raw))
    assert (poisoned.tasks["depth"].verdict, poisoned.tasks["depth"].labelled_images) == ("regression", 3)
