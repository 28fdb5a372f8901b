"""A random configuration's graph is what the eager model computes, and the checks of an engine can read it in float64."""

import pytest
import torch
from hypothesis import given

from tdss.config import ModelConfig
from tests.compile.folding.applied import few
from tests.compile.folding.engine_cases import stays_the_same
from tests.compile.folding.exact import error, run_exactly, widen
from tests.compile.folding.models import make_model
from tests.compile.folding.project_models import exported, project_configs


@pytest.mark.slow
@given(project_configs)
@few(2)
def test_the_graph_in_float64_is_the_eager_model(config: ModelConfig) -> None:
    network = exported(config)
    model = make_model(config).float().double()
    with torch.no_grad():
        want = {task: array.numpy() for task, array in model(torch.tensor(network.feeds["image"]).double()).items()}
    assert (
        error(run_exactly(widen(network.model), network.feeds), want) < 1e-6
    )  # the exporter computes constants in float32
    stays_the_same(lambda graph: graph.clone(), network.model, network.feeds)
