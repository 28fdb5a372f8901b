"""Our own adapters fold exactly in any configuration and for any subset of tasks, without the engine knowing them."""

from functools import partial

from hypothesis import given

from compile.folding.cost import Rates
from compile.folding.engine import fold_graph
from compile.graph_cost import graph_cost
from tdss.config import ModelConfig
from tests.compile.folding.applied import few
from tests.compile.folding.engine_cases import stays_the_same
from tests.compile.folding.project_models import exported, project_configs

CHEAP = Rates(element=1.0, operator=300.0)  # these models are a thousand times smaller than those the rates are for


@given(project_configs)
@few(6)
def test_a_random_configuration_stays_the_same_with_no_more_products(config: ModelConfig) -> None:
    network = exported(config)
    folded = stays_the_same(partial(fold_graph, rates=CHEAP), network.model, network.feeds)
    assert graph_cost(folded).macs <= graph_cost(network.model).macs
