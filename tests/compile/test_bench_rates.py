"""Which candidate is chosen, what is measured of it, and what happens where nothing can be measured."""

from pathlib import Path

import pytest

from bundle.artifacts import hash_file
from bundle.errors import TargetUnavailable
from compile import bench_graphs, bench_rates
from compile.bench_models import tiny
from compile.bench_rates import GRID, decide, fold_all, lines, measure_rates
from compile.bench_rewrites import Bench
from compile.config import TimingConfig
from compile.fold_graph import read_graph
from compile.folding.price import graph_price
from targets.base import RunConfig
from targets.folding import Measure, Rates, Sample
from targets.table import TARGETS

FIRST, SECOND, THIRD = GRID[:3]
CHEAP = Rates(element=1.0, operator=100.0, thin=2)


def sample(model: str, graph: str, ratio: float, variant: str = "f32") -> Sample:
    """A measured graph."""
    return Sample(model=model, variant=variant, graph=graph, macs=1, ratio=ratio)


def bench(target: str) -> Bench:
    """Two rounds on a target."""
    return Bench(TARGETS[target], RunConfig(threads=1), TimingConfig(runs=2, warmup=0), "cpu")


@pytest.mark.parametrize(
    ("measure", "second", "third", "on"),
    [
        ("latency", 0.98, 0.97, THIRD),  # the least
        ("latency", 0.972, 0.97, SECOND),  # as good, and before it
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
            ("m", "a", 1.0, "f32"), ("m", "a", 1.0, "bf16"), ("n", "a", 1.0, "f32"), ("n", "a", 1.0, "bf16"),
            ("m", "b", 0.5, "f32"), ("m", "b", 0.125, "bf16"),
        )
    ]  # fmt: skip
    assert [row.mean for row in decide("latency", graphs, samples)] == [1.0, 0.5]


def test_rates_that_lead_to_the_same_file_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_graphs, "config_of", lambda preset, gate: tiny(gate, tasks=2))
    dear = Rates(element=10.0, operator=1e9, thin=192)
    found = measure_rates(
        ["swin_dynamic"],
        [CHEAP, dear, dear.model_copy(update={"operator": 2e9})],
        bench("reference"),
        tmp_path,
        "again",
    )
    graphs = [row.graphs["swin_dynamic"] for row in found.rows]
    assert graphs[0] != graphs[1] == graphs[2]
    assert sorted(one.graph for one in found.samples) == sorted(set(graphs))
    assert found.samples[0].ratio == 1.0 and all(one.variant == "f32" for one in found.samples)
    assert sum(line.startswith("on ") for line in lines(found)) == 1
    [folder] = tmp_path.iterdir()
    assert all(hash_file(folder / f"{graph}.onnx").startswith(graph) for graph in graphs)
    monkeypatch.setattr(bench_rates, "fold_graph", None)  # a later run folds nothing again
    assert fold_all("swin_dynamic", [CHEAP, dear], tmp_path, threads=1).distinct == (graphs[0], graphs[1])

    prices = [graph_price(read_graph(folder / f"{graph}.onnx"), CHEAP) for graph in graphs[:2]]
    assert prices[0] < prices[1]


def test_jetson_needs_the_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.jetson.rtx.why_not", lambda: "it is not here")
    with pytest.raises(TargetUnavailable, match="cannot be proven here") as caught:
        measure_rates(["default"], GRID, bench("jetson"), tmp_path, "again")
    assert caught.value.exit_code == 3 and not list(tmp_path.iterdir())
