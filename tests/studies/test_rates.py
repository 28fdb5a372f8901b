"""Which candidate is chosen, what is measured of it, and what happens where nothing can be measured."""

from pathlib import Path

import onnx_ir as ir
import pytest

from bundle.base.errors import TargetUnavailable
from bundle.formats.artifacts import hash_file
from bundle.formats.tensorrt_checks import GraphProof, Proof
from compile.folding.choice.price import graph_price
from compile.folding.engine import fold_graph
from compile.folding.graph_file import read_graph
from compile.stage.config import TimingConfig
from studies import rates as bench_rates
from studies.folding import graphs as bench_graphs
from studies.folding.models import tiny
from studies.rates import GRID, decide, fold_all, lines, measure_rates, plans
from studies.runs import TimingSetup
from targets.base import RunConfig
from targets.folding import Measure, Rates, Sample
from targets.table import TARGETS

FIRST, SECOND, THIRD = GRID[:3]
CHEAP = Rates(element=1.0, operator=100.0, thin=2)
CANDIDATES = (CHEAP, *(Rates(element=10.0, operator=operator, thin=192) for operator in (1e9, 2e9)))
CASE = "swin_dynamic"


def sample(model: str, graph: str, ratio: float, variant: str = "f32") -> Sample:
    """A measured graph."""
    return Sample(model=model, variant=variant, graph=graph, macs=1, ratio=ratio)


def bench(target: str) -> TimingSetup:
    """Two rounds on a target."""
    return TimingSetup(TARGETS[target], RunConfig(threads=1), TimingConfig(runs=2, warmup=0), "cpu")


@pytest.mark.parametrize(
    ("measure", "second", "third", "on"),
    [
        ("latency", 0.99, 0.97, THIRD),  # the least
        ("latency", 0.975, 0.97, SECOND),  # as good, and before it
        ("latency", 1.01, 1.02, FIRST),
        ("bytes", 0.985, 0.97, SECOND),  # within 2 %
        ("bytes", 0.97, 0.94, THIRD),
    ],
)
def test_the_first_that_is_close_to_the_least_is_on(measure: Measure, second: float, third: float, on: Rates) -> None:
    graphs = {FIRST: {"m": "a"}, SECOND: {"m": "b"}, THIRD: {"m": "c"}}
    rows = decide(measure, graphs, [sample("m", "a", 1.0), sample("m", "b", second), sample("m", "c", third)])
    assert [row.rates for row in rows if row.on] == [on]


def test_the_mean_is_geometric_over_the_models_and_variants() -> None:
    graphs = {FIRST: {"m": "a", "n": "a"}, SECOND: {"m": "b", "n": "a"}}
    samples = [
        sample(model, graph, ratio, variant)
        for model, graph, ratio, variant in (
            ("m", "a", 1.0, "f32"),
            ("m", "a", 1.0, "bf16"),
            ("n", "a", 1.0, "f32"),
            ("n", "a", 1.0, "bf16"),
            ("m", "b", 0.5, "f32"),
            ("m", "b", 0.125, "bf16"),
        )
    ]
    assert [row.mean for row in decide("latency", graphs, samples)] == [1.0, 0.5]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, folded by three candidates."""
    place = tmp_path_factory.mktemp("rates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_graphs, "config_of", lambda preset, gate: tiny(gate, tasks=2))
        fold_all(CASE, CANDIDATES, place, threads=1)
    return place


def graph_files(work: Path) -> dict[str, Path]:
    """Return the folded graphs' files by name."""
    return {hash_file(path)[:16]: path for path in work.glob("folded/*/model.onnx")}


@pytest.mark.slow
def test_rates_that_lead_to_the_same_file_are_measured_once(work: Path) -> None:
    found = measure_rates([CASE], CANDIDATES, bench("reference"), work, "again")
    graphs = [row.graphs[CASE] for row in found.rows]
    assert graphs[0] != graphs[1] == graphs[2]
    assert sorted(one.graph for one in found.samples) == sorted(graph_files(work)) == sorted(set(graphs))
    assert found.samples[0].ratio == 1.0 and all(one.variant == "f32" for one in found.samples)
    assert sum(line.startswith("on ") for line in lines(found)) == 1
    prices = [graph_price(read_graph(graph_files(work)[graph]), CHEAP) for graph in graphs[:2]]
    assert prices[0] < prices[1]


@pytest.mark.slow
def test_a_later_run_folds_only_what_is_missing_or_altered(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[Rates] = []

    def fold(model: ir.Model, rates: Rates) -> ir.Model:
        folded.append(rates)
        return fold_graph(model, rates)

    monkeypatch.setattr(bench_rates, "fold_graph", fold)
    before = fold_all(CASE, CANDIDATES, work, threads=1)
    assert folded == []
    graph_files(work)[before.graphs[CHEAP]].write_bytes(b"something else")
    assert fold_all(CASE, CANDIDATES, work, threads=1).graphs == before.graphs and folded == [CHEAP]


@pytest.mark.slow
def test_the_builders_plan_leaves_the_folded_graphs_as_they_are(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter((100_000_000, 90_000_000))
    monkeypatch.setattr("studies.placement.prove", lambda paths: proof(next(sizes)))
    samples = plans(fold_all(CASE, CANDIDATES, work, threads=1))
    assert [(one.ratio, one.moved_mb, one.kernels) for one in samples] == [(1.0, 100.0, 7), (0.9, 90.0, 7)]
    assert all(hash_file(path).startswith(name) for name, path in graph_files(work).items())


def proof(moved: int) -> Proof:
    """A plan that moves so many bytes."""
    graph = GraphProof(
        graph="g",
        parsed=True,
        built=True,
        complaints=(),
        kernels=7,
        moves=0,
        casts=0,
        attentions=0,
        not_fused=(),
        read_bytes=moved - 1_000_000,
        written_bytes=0,
        weight_bytes=1_000_000,
        macs=1,
        int8_share=0.0,
        fp16_share=1.0,
        not_int8=(),
        engine_bytes=1,
    )
    return Proof(status="accepted", builder="b", graphs=(graph,))


def test_jetson_needs_the_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.jetson.rtx.unavailable", lambda: "it is not here")
    with pytest.raises(TargetUnavailable, match="cannot be proven here") as caught:
        measure_rates(["default"], GRID, bench("jetson"), tmp_path, "again")
    assert caught.value.exit_code == 3 and not list(tmp_path.iterdir())
