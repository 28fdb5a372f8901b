"""Which rewrite is switched on: faster on every model that has a site for it, by the median and the quartile."""

import numpy as np
import pytest

from bundle.formats.artifacts import Simplified
from bundle.tasks.dataset import read_image
from calibration.sampling import CalibrationSet
from compile.graphs.passes.table import PASSES
from compile.stage.config import TimingConfig
from compile.stage.graph_info import GRAPH_FILE, graph_info
from studies.rewrites import CANDIDATES, Contract, Model, decide, measure_rewrites
from studies.runs import TimingSetup
from targets.base import RunConfig
from targets.rewrites import Sample
from targets.table import TARGETS


def one(ratio: float, high: float, sites: int = 3, model: str = "m", variant: str = "f32") -> Sample:
    """A measurement."""
    return Sample(model=model, variant=variant, sites=sites, ratio=ratio, quartiles=(ratio - 0.01, high))


@pytest.mark.parametrize(
    ("samples", "on"),
    [
        ((one(0.9, 0.95),), True),
        ((one(0.9, 1.02),), False),  # its spread crosses 1
        ((one(0.995, 0.999),), False),  # too little to be sure of
        ((one(0.8, 0.85), one(1.1, 1.2)), False),  # it must not lose elsewhere
        ((one(0.8, 0.85), one(1.0, 1.0, sites=0)), True),  # no site, no say
        ((one(1.0, 1.0, sites=0),), False),
        ((one(1.0, 1.01), one(0.95, 0.97, variant="int8")), True),  # it shows in INT8 alone
        ((one(1.02, 1.03), one(0.95, 0.97, variant="int8")), False),  # what one variant gains another loses
        ((one(1.01, 1.03), one(0.95, 0.97, variant="int8")), True),  # nor is this a loss
        ((one(0.95, 0.97), one(1.0, 1.01, model="n")), False),  # the second model gains nothing
    ],
)
def test_a_rewrite_is_on_where_it_is_faster(samples: tuple[Sample, ...], on: bool) -> None:
    row = decide("it", samples)
    assert row.on is on and row.samples == samples and row.reason


def test_every_candidate_is_in_the_table_of_passes() -> None:
    assert set(CANDIDATES) <= set(PASSES)


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_it_measures_each_rewrite_over_those_that_are_on(simplified: Simplified) -> None:
    shape = simplified.record.inputs[0].shape
    model = Model("tiny", simplified.file(GRAPH_FILE), {simplified.record.inputs[0].name: np.zeros(shape, np.float32)})
    bench = TimingSetup(TARGETS["reference"], RunConfig(threads=1), TimingConfig(runs=2, warmup=0), "cpu")
    rows = measure_rewrites([model], bench, ("gather_windows", "resize_as_products"))
    assert [row.name for row in rows] == ["gather_windows", "resize_as_products"]
    assert all(sample.sites > 0 and sample.ratio > 0 for row in rows for sample in row.samples)


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_each_variant_of_a_target_is_measured_also_the_quantized_one(
    simplified: Simplified, calibration: CalibrationSet
) -> None:
    info = graph_info(simplified)
    feed = info.feed(read_image(calibration.paths[0]), name="an image")
    target, run = TARGETS["intel"], RunConfig(threads=1)
    model = Model("tiny", simplified.file(GRAPH_FILE), feed, Contract(info, calibration))
    bench = TimingSetup(target, run, TimingConfig(runs=2, warmup=0), "cpu")
    [row] = measure_rewrites([model], bench, ("flatten_tokens",))
    offered = {one.name for one in target.variants(target.capabilities(run)) if one.graph in ("float", "quantized")}
    assert {sample.variant for sample in row.samples} == offered >= {"f32", "int8"}
    [alone] = measure_rewrites([model._replace(contract=None)], bench, ("flatten_tokens",))
    assert {sample.variant for sample in alone.samples} == offered - {"int8"}
