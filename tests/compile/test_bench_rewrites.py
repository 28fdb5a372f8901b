"""Which rewrite is switched on: faster on every model that has a site for it, by the median and the quartile."""

import numpy as np
import pytest

from bundle.artifacts import Simplified
from compile.bench_rewrites import CANDIDATES, Bench, Model, decide, measure_rewrites
from compile.config import TimingConfig
from compile.graph import GRAPH_FILE
from compile.passes.table import PASSES
from targets.base import RunConfig
from targets.rewrites import Sample
from targets.table import TARGETS


def one(ratio: float, high: float, sites: int = 3) -> Sample:
    """A measurement."""
    return Sample(model="m", sites=sites, ratio=ratio, quartiles=(ratio - 0.01, high))


@pytest.mark.parametrize(
    ("samples", "on"),
    [
        ((one(0.9, 0.95),), True),
        ((one(0.9, 1.02),), False),  # its spread crosses 1
        ((one(0.995, 0.999),), False),  # too little to be sure of
        ((one(0.8, 0.85), one(1.1, 1.2)), False),  # it must not lose elsewhere
        ((one(0.8, 0.85), one(1.0, 1.0, sites=0)), True),  # no site, no say
        ((one(1.0, 1.0, sites=0),), False),
    ],
)
def test_a_rewrite_is_on_where_it_is_faster(samples: tuple[Sample, ...], on: bool) -> None:
    row = decide("it", samples)
    assert row.on is on and row.samples == samples and row.reason


def test_every_candidate_is_in_the_table_of_passes() -> None:
    assert set(CANDIDATES) <= set(PASSES)


@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_it_measures_each_rewrite_over_those_that_are_on(simplified: Simplified) -> None:
    shape = simplified.record.inputs[0].shape
    model = Model("tiny", simplified.file(GRAPH_FILE), {simplified.record.inputs[0].name: np.zeros(shape, np.float32)})
    bench = Bench(TARGETS["reference"], RunConfig(threads=1), TimingConfig(runs=2, warmup=0), "cpu")
    rows = measure_rewrites([model], bench, ("gather_windows", "resize_as_products"))
    assert [row.name for row in rows] == ["gather_windows", "resize_as_products"]
    assert all(sample.sites > 0 and sample.ratio > 0 for row in rows for sample in row.samples)
