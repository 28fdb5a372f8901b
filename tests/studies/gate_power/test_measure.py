"""Planted regressions: the noise lands in one layer of one task, and the gate's verdicts follow the true drop."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from bundle.base.errors import GraphError, InputError
from bundle.formats.manifest import load_bundle
from bundle.formats.vectors import Vectors
from bundle.judging.evaluate_image import feed
from bundle.judging.run import run
from compile.stage.command import run_script
from studies.gate_power import measure as power
from studies.gate_power.page import (
    SECTION,
    Power,
    by_count,
    by_task,
    detectable,
    mistakes,
    on,
    overall,
    publish,
    read_power,
    worst_by_chance,
)
from targets.base import RunConfig
from targets.open import open_session
from tests.bundle.made import HERE, TASKS
from tests.bundle.made_onnx import graph, make
from tests.exits import exit_code

OPTIONS = power.Options(pilot=6, shares=(1.0, 6.0), trials=6, resamples=100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("power") / "bundle", "reference")


@pytest.fixture(scope="module")
def measured(folder: Path) -> Power:
    bundle = load_bundle(folder)
    return power.measure_power(bundle, bundle.folder / power.float_graph(bundle), OPTIONS)


def test_a_bundle_without_a_float_graph_asks_for_one(folder: Path) -> None:
    bundle = load_bundle(folder)
    only = bundle.manifest.variants[0].model_copy(update={"name": "int8"})
    without = bundle.model_copy(update={"manifest": bundle.manifest.model_copy(update={"variants": (only,)})})
    with pytest.raises(InputError, match="this bundle keeps none") as caught:
        power.float_graph(without)
    assert "--graph" in str(caught.value)


@pytest.mark.slow
def test_the_drop_that_is_found_is_read_between_two_planted_ones(measured: Power) -> None:
    point = measured.points[0]
    shares = {0.5: 0.0, 2.0: 0.4, 3.0: 0.9}
    points = tuple(
        point.model_copy(
            update={"drop": size * point.budget, "trials": (point.trials[0].model_copy(update={"regression": share}),)}
        )
        for size, share in shares.items()
    )
    assert detectable(points, 0, 0.8) == pytest.approx(2.8) and detectable(points, 0, 0.95) is None
    assert detectable(points, 0, 0.2) == pytest.approx(1.5)
    line = by_task(measured.model_copy(update={"points": points})).splitlines()[-1]
    assert line == f"| {point.task} | 1 / 2 | 0 % | {100 * point.trials[0].passed:.0f} % | 2.8 |"


def test_the_worst_row_by_chance_is_the_binomials() -> None:
    """Against a simulation: 99 of 100 measurements of a gate that errs in 2.5 % have no worse row."""
    mistaken = np.random.default_rng(0).binomial(400, 0.025, size=(4000, 54)).max(axis=1) / 400
    bound = worst_by_chance(400, 54)
    assert (mistaken <= bound).mean() >= 0.985 and (mistaken <= bound - 1 / 400).mean() < 0.99
    assert worst_by_chance(10, 1, rate=0.0) == 0.0


def test_a_gate_that_errs_too_often_is_said_to(measured: Power) -> None:
    def erring(share: float) -> str:
        trials = tuple(one.model_copy(update={"draws": 400, "regression": share}) for one in measured.points[0].trials)
        point = measured.points[0].model_copy(update={"drop": 0.0, "trials": trials})
        return by_count(measured.model_copy(update={"points": (point,)}))

    assert "not kept" not in erring(0.03) and "| 3.0 % |" in erring(0.03)
    assert erring(0.08).count("**not kept**") == len(measured.points[0].trials)


def test_the_last_layer_is_the_tasks_own() -> None:
    model = graph()
    layers = {name: power.last_layer(model.graph, name) for name in TASKS}
    assert layers == {name: power.Layer(f"{name}.weight", "image") for name in TASKS}
    with pytest.raises(GraphError, match="no layer with weights"):
        power.last_layer(onnx.GraphProto(), "depth")


def test_the_two_halves_are_the_graph(folder: Path, tmp_path: Path) -> None:
    bundle = load_bundle(folder)
    layers, weights = power.cut(folder / "f32.onnx", TASKS, tmp_path)
    assert set(weights) == {layer.weight for layer in layers.values()}
    with (
        power.opened(tmp_path, "body.onnx", 1) as body,
        power.opened(tmp_path, "heads.onnx", 1) as heads,
        open_session(bundle, execute="auto", variant="", run=RunConfig())[0] as whole,
        Vectors(bundle.vectors) as vectors,
    ):
        fed = feed(bundle.manifest, next(vectors.images()))
        plain = heads.infer({**body.infer(fed), **weights})
        noisy = heads.infer(
            {**body.infer(fed), **power.planted(weights, {**dict.fromkeys(weights, 0.0), "depth.weight": 0.3})}
        )
        for name, output in whole.infer(fed).items():
            np.testing.assert_allclose(plain[name], output, rtol=1e-5, atol=1e-6)
            assert np.array_equal(noisy[name], plain[name]) == (name != "depth")


def test_the_noise_is_relative_to_the_weights_and_keeps_its_direction() -> None:
    weights = {"a": np.full((40, 50), 3.0, np.float32)}
    small, large = (power.planted(weights, {"a": level})["a"] - 3.0 for level in (0.01, 0.1))
    assert large.std() == pytest.approx(0.3, rel=0.1)
    np.testing.assert_allclose(large, 10 * small, atol=1e-4)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_levels_are_read_off_the_pilot_in_the_direction_that_costs(sign: float) -> None:
    rising = np.linspace(0, 0.2, len(power.LADDER))
    helping = rising - 0.005
    levels = power.choose_levels(np.concatenate([rising, helping][:: int(sign)]), budget=0.01)
    assert all(sign * level > 0 for level in levels)
    sizes = sorted(abs(level) for level in levels)
    assert sizes == [abs(level) for level in levels] and power.LADDER[0] <= sizes[0] and sizes[-1] <= power.LADDER[-1]
    np.testing.assert_allclose(np.interp(np.log(sizes), np.log(power.LADDER), rising) / 0.01, power.SIZES, rtol=1e-6)


def test_a_pilot_that_never_drops_gives_the_largest_level() -> None:
    levels = power.choose_levels(np.full(2 * len(power.LADDER), np.nan), 0.01)
    assert {abs(level) for level in levels} == {power.LADDER[-1]}


def test_the_truth_is_the_gates_own_drop(folder: Path, measured: Power) -> None:
    """What the sweep measures of a level is what the harness measures of a model with that noise."""
    bundle, point = load_bundle(folder), measured.of("depth")[-1]
    _, weights = power.cut(folder / "f32.onnx", TASKS, folder.parent)
    noisy = power.planted(weights, {**dict.fromkeys(weights, 0.0), point.layer: point.noise})[point.layer]

    def infer(fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with power.opened(folder.parent, "heads.onnx", 1) as heads:
            return heads.infer({"image": fed["image"], **weights, point.layer: noisy})

    result = run(bundle, infer, HERE, resamples=200).tasks["depth"]
    assert result.drop_relative == pytest.approx(point.drop, rel=1e-4) and point.layer == "depth.weight"


def test_what_is_far_beyond_the_budget_is_found_and_what_is_far_within_passes(measured: Power) -> None:
    assert measured.tasks() == tuple(TASKS) and len(measured.points) == len(TASKS) * len(power.SIZES)
    for point in measured.points:
        assert all(t.regression + t.inconclusive + t.passed == pytest.approx(1.0) for t in point.trials)
    beyond = [point for point in measured.points if point.interval[0] > 3 * point.budget]
    within = [point for point in measured.points if point.interval[1] < 0.2 * point.budget]
    assert len(beyond) >= 1 and {(p.verdict, p.trials[-1].regression) for p in beyond} == {("regression", 1.0)}
    assert len(within) >= 1 and {(p.verdict, p.trials[-1].passed) for p in within} == {("pass", 1.0)}
    only = on(measured.points, measured.images)
    assert {trial.images for point in only for trial in point.trials} == {measured.images}
    assert all(0 <= share <= 1 for share in (*mistakes(measured.points), *overall(measured)))


@pytest.mark.slow
def test_the_section_is_written_between_its_marks_and_again(measured: Power, tmp_path: Path) -> None:
    doc, figure = tmp_path / "docs" / "regression.md", tmp_path / "docs" / "pictures" / "power.png"
    doc.parent.mkdir()
    doc.write_text(f"before\n\n<!-- {SECTION} -->\nold\n<!-- /{SECTION} -->\n\nafter\n", encoding="utf-8")
    publish(measured, doc, figure)
    text = doc.read_text(encoding="utf-8")
    assert (
        text.startswith("before") and text.endswith("after\n") and "old" not in text and "(pictures/power.png)" in text
    )
    assert text.count("| depth |") == len(power.SIZES) + 1 and figure.read_bytes()[:4] == b"\x89PNG"
    publish(measured, doc, figure)
    assert doc.read_text(encoding="utf-8") == text
    (tmp_path / "power.json").write_text(measured.model_dump_json())
    assert read_power(tmp_path / "power.json") == measured


def test_a_file_without_a_measurement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no measurement"):
        read_power(tmp_path / "none.json")


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(run_script, power.main, ["--bundle", str(tmp_path)]) == 2
    assert "no bundle here" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_line_names_what_measure_power_is_given(
    folder: Path, tmp_path: Path, measured: Power, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(
        power, "measure_power", lambda bundle, path, options: asked.append(path.read_bytes()) or measured
    )
    doc, other = tmp_path / "regression.md", tmp_path / "other.onnx"
    other.write_bytes(b"another graph")
    places = ["--out", str(tmp_path / "p.json"), "--doc", str(doc), "--figure", str(tmp_path / "p.png")]
    assert exit_code(run_script, power.main, ["--bundle", str(folder), *places]) == 0
    assert exit_code(run_script, power.main, ["--bundle", str(folder), "--graph", str(other), *places]) == 0
    assert asked == [(folder / "f32.onnx").read_bytes(), b"another graph"]
    assert read_power(tmp_path / "p.json") == measured
