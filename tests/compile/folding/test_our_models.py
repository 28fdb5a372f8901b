"""Our own adapters fold exactly in any configuration and for any subset of tasks, without the engine knowing them."""

from functools import partial

import pytest
from hypothesis import given

from compile.folding.engine import fold_graph
from compile.graph_cost import graph_cost
from tdss.config import ModelConfig, TdssConfig
from tests.compile.folding.applied import few
from tests.compile.folding.engine_cases import stays_the_same
from tests.compile.folding.models import make_config, make_model
from tests.compile.folding.project_models import exported, project_configs
from tests.compile.folding.proven import CHEAP, fold_exactly, graph_of, names_of


@given(project_configs)
@few(6)
def test_a_random_configuration_stays_the_same_with_no_more_products(config: ModelConfig) -> None:
    network = exported(config)
    folded = stays_the_same(partial(fold_graph, rates=CHEAP), network.model, network.feeds)
    assert graph_cost(folded).macs <= graph_cost(network.model).macs


@pytest.mark.parametrize("patch", [0, 4], ids=["swin", "vit"])
def test_every_attention_scale_is_in_its_projection(patch: int) -> None:
    adapter = TdssConfig(experts=2, rank=2, gates=(("static", "dynamic"), ("dynamic",)))
    graph = graph_of(make_model(make_config(adapter, tasks=("depth",), vit_patch=patch)))
    scaled = [name for name in names_of(graph, "Mul") if name.endswith(".attn")]
    assert len(scaled) == 3  # one of each block
    assert not [name for name in names_of(fold_exactly(graph), "Mul") if name.endswith(".attn")]
