"""Our own adapters fold exactly in any configuration and for any subset of tasks, without the engine knowing them."""

from functools import partial

from hypothesis import given

from compile.folding.cost import Rates
from compile.folding.engine import eliminate, fold_graph
from compile.folding.price import fixed_price, graph_price
from compile.graph_cost import graph_cost
from tdss.config import ModelConfig
from tests.compile.folding.engine_cases import stays_the_same
from tests.compile.folding.project_models import exported, project_configs
from tests.compile.folds.applied import few

CHEAP = Rates(element=1.0, operator=300.0)  # these models are a thousand times smaller than those the rates are for


@given(project_configs)
@few(6)
def test_a_random_configuration_stays_the_same_with_no_more_products_at_the_price_of_the_search(
    config: ModelConfig,
) -> None:
    """What the search and a graph's price count differently is turns of layout."""
    network = exported(config)
    folding = eliminate(network.model, CHEAP)
    price = graph_price(folding.model, CHEAP)
    assert abs(folding.found.cost + fixed_price(folding.network, CHEAP) - price) <= 0.1 * price
    folded = stays_the_same(partial(fold_graph, rates=CHEAP), network.model, network.feeds)
    assert graph_cost(folded).macs <= graph_cost(network.model).macs
