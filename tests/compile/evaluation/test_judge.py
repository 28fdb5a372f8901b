"""Which variant is shipped, and why."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from bundle.formats.artifacts import load
from bundle.formats.contents import VECTORS
from bundle.formats.manifest import Bundle, BundleVariant, Manifest, Reference, Seeds, default_budgets
from bundle.formats.manifest import Engine as EngineEntry
from bundle.formats.outputs import anything, replacing
from bundle.formats.tensorrt_checks import GraphProof, Proof
from bundle.formats.vectors import Evaluated, write_vectors
from bundle.judging import choice_rule
from bundle.judging.choice_rule import order
from bundle.judging.regression_report import RegressionReport, VariantRow
from bundle.judging.run import run
from bundle.judging.sentences import why_shipped
from bundle.judging.timing import Load
from bundle.tasks.dataset import FolderDataset
from compile.evaluation import judge
from compile.evaluation.eager import EagerModel
from compile.evaluation.judge import JudgeSettings
from compile.evaluation.judged_images import JudgedImages
from compile.evaluation.timing import CLOCKS
from compile.quantization.contenders import Contest
from compile.stage.artifacts import ReferenceVectors
from compile.stage.config import TimingConfig
from compile.stage.parts import Spread
from compile.stage.store import seal
from targets.base import Array, Capabilities, Precision, RunConfig, Session, SessionInfo, Variant, VariantRecipe
from targets.open import execution
from tests.compile import made
from tests.studies.zoo.test_tables import PLAN

ABLE = Capabilities(device="CPU", device_name="a processor", isa=(), precisions=("f32", "int8"), runtime="made")
NAMES: tuple[Precision, ...] = ("f32", "f16", "int8")


class Clocked(Session):
    """A session whose calls move a clock by scripted milliseconds; the first call of all is a warm-up of a second."""

    def __init__(self, clock: list[float], precision: Precision, script: list[float]) -> None:
        info = SessionInfo(target="made", capabilities=ABLE, precision=precision, executed_on="device", settings={})
        super().__init__(info, *made.INFO["raw"].interface)
        self.clock, self.script, self.calls = clock, script, 0

    def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        self.clock[0] += (1000.0 if self.calls == 0 else self.script[(self.calls - 1) % len(self.script)]) / 1e3
        self.calls += 1
        return dict(made.answer(feed))

    def _close(self) -> None:
        self.calls = 0


class Made(Session):
    """The eager model with noise of a chosen size."""

    def __init__(self, model: EagerModel, precision: Precision, noise: float) -> None:
        info = SessionInfo(target="made", capabilities=ABLE, precision=precision, executed_on="device", settings={})
        super().__init__(info, *made.INFO["raw"].interface)
        self.model, self.noise, self.calls = model, noise, 0

    def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        self.calls += 1

        with torch.no_grad():
            outputs = self.model._model(torch.tensor(feed["image"]))
        generator = np.random.default_rng(0)
        return {
            name: output.numpy() + np.float32(self.noise) * generator.normal(size=output.shape).astype(np.float32)
            for name, output in outputs.items()
        }

    def _close(self) -> None:
        self.noise = 0.0


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> EagerModel:
    """The tiny model, unfolded."""
    return EagerModel(checkpoint)


@pytest.fixture(scope="module")
def vectors(model: EagerModel, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> ReferenceVectors:
    """What the tiny model says about the tiny evaluation images."""
    dataset = FolderDataset(root=scenes, spec=made.SPEC)
    out = tmp_path_factory.mktemp("vectors") / "v"
    with replacing(out, anything) as folder:
        images = (
            Evaluated(
                id=name,
                image=dataset.image(name),
                outputs=model.run(dataset.image(name), name=name),
                labels={task: dataset.encoded_label(task, name) for task in made.TASKS},
            )
            for name in made.EVALUATION
        )
        write_vectors(folder / VECTORS, images, tasks=made.TASKS, spec=made.SPEC)
        seal(ReferenceVectors, folder, tools={})
    return load(ReferenceVectors, out)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> JudgeSettings:
    """Default budgets on the tiny data."""
    info = made.INFO["raw"]
    inputs, outputs = info.interface
    draft = Manifest(
        name="tiny",
        target="intel",
        io="raw",
        tasks=made.TASKS,
        dataset=made.SPEC,
        preprocess=info.preprocess,
        inputs=inputs,
        outputs=outputs,
        shipped="f32",
        engine=EngineEntry(status="built"),
        variants=(BundleVariant(name="f32", precision="f32", files=("float.xml",), recipe={}),),
        reference=Reference(checkpoint_sha256="", framework=""),
        budgets=default_budgets(made.TASKS, strict=False),
        seeds=Seeds(sampling=0, bootstrap=0),
        tools={},
        settings={},
        parents={},
        files={},
    )
    store = tmp_path_factory.mktemp("store")
    return JudgeSettings(draft, TimingConfig(runs=1, warmup=0), allow_inconclusive=False, spread=Spread(store))


SIZES: dict[str, int] = dict.fromkeys(choice_rule.NARROWER, 1000)


def judged(session: Made, vectors: ReferenceVectors, settings: JudgeSettings) -> RegressionReport:
    """Judge a session that stands for a graph; its noise takes the place of the graph's hash."""
    recipe = VariantRecipe(name=session.info.precision, graph="float", hint="f32", reason="")
    work = JudgedImages(
        files={str(vectors.file(VECTORS)): vectors.record.files[VECTORS]},
        engine=Path(str(session.noise)),
        variant=Variant(recipe=recipe, files=(f"{session.noise}",)),
        target="intel",
        run=RunConfig(),
        able=ABLE,
        vectors=vectors.file(VECTORS),
        manifest=settings.draft,
    )
    return judge._judge_one(work, session, vectors, settings)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 3.0, float("nan")])
def test_parts_of_the_images_give_the_report_of_one_run(
    model: EagerModel, vectors: ReferenceVectors, settings: JudgeSettings, noise: float
) -> None:
    session = Made(model, "f32", noise)
    bundle = Bundle(folder=vectors.folder, manifest=settings.draft.model_copy(update={"files": vectors.record.files}))
    whole = run(bundle, session.infer, execution(session))
    calls = session.calls
    assert judged(session, vectors, settings).text() == whole.text() and session.calls == 2 * calls
    assert judged(session, vectors, settings).text() == whole.text() and session.calls == 2 * calls


def choose(
    model: EagerModel,
    noise: dict[Precision, float],
    latency: dict[str, float],
    vectors: ReferenceVectors,
    settings: JudgeSettings,
) -> tuple[RegressionReport, str]:
    """Judge sessions of these noises; return the shipped one's report with the table of all, and why it is shipped."""
    reports = {name: judged(Made(model, name, size), vectors, settings) for name, size in noise.items()}
    rounds = {name: [value] for name, value in latency.items()}
    choice = choice_rule.choose(reports, rounds, 1.0 if latency else None, 0.95)
    report = choice_rule.with_variants(reports, choice, SIZES)
    assert report.precision == choice.shipped
    assert [row.name for row in report.variants] == list(noise)
    return report, why_shipped(choice)


NOISY = [8.0, 12.0, 9.0, 11.0, 10.0]


@pytest.mark.parametrize(("factor", "rounds", "shipped"), [(0.88, 20, "f32"), (0.4, 5, "int8")])
def test_a_host_measures_again_what_noise_hides_and_records_what_it_saw(
    model: EagerModel,
    vectors: ReferenceVectors,
    settings: JudgeSettings,
    monkeypatch: pytest.MonkeyPatch,
    factor: float,
    rounds: int,
    shipped: str,
) -> None:
    clock = [0.0]
    monkeypatch.setitem(CLOCKS, "wall", lambda: clock[0])
    monkeypatch.setattr(EagerModel, "run", lambda *given, **more: clock.__setitem__(0, clock[0] + 1.335))
    slower = [factor * value for value in NOISY[::-1]]
    sessions: dict[str, Session] = {"f32": Clocked(clock, "f32", NOISY), "int8": Clocked(clock, "int8", slower)}
    good = judged(Made(model, "f32", 0.0), vectors, settings)
    timing = TimingConfig(runs=5, warmup=1)
    contest = Contest(tuple(sessions), lambda name: good, (), timing.gain)
    found = judge._rounds(sessions, vectors, settings._replace(timing=timing, eager=lambda: model), contest, 0)
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(("eager", "f32", "int8"), rounds)
    eager = found.pop("eager")
    choice = choice_rule.choose(contest.reports(found), found, judge.median(eager), timing.gain, contest.skipped)
    load = Load(cpus=2, before=(1.0, 1.0, 1.0), after=(6.0, 1.0, 1.0), steal=0.0)
    bench = judge._bench(found, eager, load, choice.shipped, timing)
    assert choice.shipped == shipped == bench.shipped_precision and bench.runs == rounds
    assert bench.eager is not None and bench.eager_ms == pytest.approx(1335.0) == bench.eager.p90_ms
    half = bench.variants["f32"].with_copies
    assert (half.p10_ms, half.p50_ms, half.p90_ms) == pytest.approx(
        tuple(np.percentile(NOISY * (rounds // 5), [10, 50, 90]))
    )
    assert bench.load == load and bench.disturbed[0] == "load 6.0 on 2 CPUs" and len(bench.disturbed) == 3


def row(report: RegressionReport, name: str) -> VariantRow:
    """The row of one variant."""
    [found] = [row for row in report.variants if row.name == name]
    return found


def test_with_latencies_the_fastest_comes_first_and_a_tie_goes_to_the_wider() -> None:
    names = list(NAMES)
    assert order(names, {"f32": 10.0, "f16": 8.0, "int8": 5.0}, 0.95) == ["int8", "f16", "f32"]
    assert order(names, {"f32": 10.0, "f16": 9.9, "int8": 9.7}, 0.95) == ["f32", "f16", "int8"]
    assert order(names, {"f32": 10.0, "f16": 9.9, "int8": 9.7}, 1.0) == ["int8", "f16", "f32"]
    assert order(["int8", "int8_mixed"], {"int8": 5.0, "int8_mixed": 5.0}, 0.95) == ["int8_mixed", "int8"]


def test_without_latencies_the_narrowest_comes_first() -> None:
    names: list[str] = [*NAMES, "int8_mixed", "int8_smooth"]
    assert order(names, {}, 0.95) == ["int8", "int8_smooth", "int8_mixed", "f16", "f32"]


def test_without_latencies_the_fewest_bytes_come_first_and_one_without_a_plan_last() -> None:
    assert order(list(NAMES), {}, 0.95, {"f32": 4.0, "f16": 1.0, "int8": 2.0}) == ["f16", "int8", "f32"]
    assert order(list(NAMES), {}, 0.95, {"f16": 1.0, "int8": 1.0}) == ["int8", "f16", "f32"]


def test_a_variant_moves_the_bytes_of_its_first_graphs_plan_if_there_is_one() -> None:
    recipe = VariantRecipe(name="f16", graph="fp16", hint="f16", reason="a test")
    half = Variant(recipe=recipe, files=("f16.onnx", "f16.emulation.onnx"))
    narrow = Variant(recipe=recipe.model_copy(update={"name": "int8"}), files=("int8.onnx", "int8.emulation.onnx"))
    plans = tuple(
        GraphProof.model_validate({**PLAN, "graph": one.files[0], "built": one is half}) for one in (half, narrow)
    )
    assert judge.moved_bytes(Proof(status="refused", graphs=plans), [half, narrow]) == {"f16": 101_000_000}
    assert judge.moved_bytes(None, [half, narrow]) == {}


def test_every_precision_has_its_place_in_the_order() -> None:
    assert set(choice_rule.NARROWER) == set(get_args(Precision))


def test_the_fastest_within_its_budgets_is_shipped(
    model: EagerModel, vectors: ReferenceVectors, settings: JudgeSettings
) -> None:
    report, reason = choose(model, {"f32": 0.0, "int8": 0.0}, {"f32": 10.0, "int8": 5.0}, vectors, settings)
    assert row(report, "int8").reason == "shipped; within its budgets" and row(report, "int8").median_ms == 5.0
    assert "fastest" in reason and "2.00 times as fast as compiled f32 (10.0 ms)" in reason
    assert "2.00 times as slow as int8" in row(report, "f32").reason


def test_every_variant_has_its_row_with_every_task(
    model: EagerModel, vectors: ReferenceVectors, settings: JudgeSettings
) -> None:
    report, _ = choose(model, {"f32": 0.0, "int8": 3.0}, {"f32": 10.0, "int8": 5.0}, vectors, settings)
    spoilt, good = row(report, "int8"), row(report, "f32")
    assert good.tasks["depth"].drop_relative == pytest.approx(0.0, abs=1e-6) and good.passed
    assert (spoilt.tasks["depth"].drop_relative or 0) > 0.01 and not spoilt.passed
    assert list(spoilt.tasks) == list(made.TASKS) and spoilt.bytes == 1000
    assert good.tasks["depth"].verdict == report.tasks["depth"].verdict == "pass"


def test_a_faster_one_beyond_its_budgets_is_not(
    model: EagerModel, vectors: ReferenceVectors, settings: JudgeSettings
) -> None:
    report, reason = choose(model, {"f32": 0.0, "int8": 3.0}, {"f32": 10.0, "int8": 5.0}, vectors, settings)
    assert report.precision == "f32"
    told = row(report, "int8").reason
    assert "not shown to be within its budgets" in told and "depth regression" in told
    assert "int8 is faster (5.0 ms), but" in reason


def test_a_gain_too_small_is_said(model: EagerModel, vectors: ReferenceVectors, settings: JudgeSettings) -> None:
    report, reason = choose(model, {"f32": 0.0, "int8": 0.0}, {"f32": 10.0, "int8": 9.9}, vectors, settings)
    assert report.precision == "f32" and "nothing narrower gains enough (int8 9.9 ms)" in reason
    assert "not shown to be enough faster than f32" in row(report, "int8").reason


def test_where_none_is_the_most_precise_is_shipped_and_the_reason_says_so(
    model: EagerModel, vectors: ReferenceVectors, settings: JudgeSettings
) -> None:
    report, reason = choose(model, {"f32": 3.0, "int8": 4.0}, {"f32": 10.0, "int8": 5.0}, vectors, settings)
    assert report.precision == "f32" and "it does not pass" in reason


def test_an_emulation_leaves_the_last_word_to_the_device(
    model: EagerModel, vectors: ReferenceVectors, settings: JudgeSettings
) -> None:
    report, reason = choose(model, {"f32": 0.0, "f16": 0.0, "int8": 3.0}, {}, vectors, settings)
    assert report.precision == "f16" and "the device decides" in reason
    assert "f16 is narrower" in row(report, "f32").reason and row(report, "f16").median_ms is None
