"""Our own adapters fold exactly in any configuration and for any subset of tasks, without the engine knowing them."""

from functools import partial

import pytest
from hypothesis import given

from compile.folding.choice.price import graph_price
from compile.folding.engine import eliminate, fold_graph
from compile.graphs.cost import graph_cost
from tdss.adapters.config import MtloraConfig, SsfConfig, TdssConfig
from tdss.config import ModelConfig
from tests.compile.folding.applied import few
from tests.compile.folding.engine_cases import stays_the_same
from tests.compile.folding.models import adapted, make_config, make_model
from tests.compile.folding.project_models import exported, project_configs
from tests.compile.folding.proven import CHEAP, fold_exactly, graph_of, names_of

pytestmark = pytest.mark.slow

GATES = TdssConfig(experts=2, rank=4, gates=(("static", "dynamic"), ("dynamic",)), activation="gelu", tsai="dynamic")
LARGER = {
    "gates": make_config(GATES, size=128),
    "mtlora": adapted(MtloraConfig(kind="mtlora", rank=4), size=128),
    "padded windows": adapted(SsfConfig(kind="ssf"), size=120),
}


@pytest.mark.parametrize("name", LARGER)
def test_the_search_prices_what_is_written(name: str) -> None:
    """What it does not price is turns of layout and sums that several values share."""
    network = exported(LARGER[name])
    folding = eliminate(network.model, CHEAP)
    price = graph_price(folding.model, CHEAP)
    assert abs(folding.found.cost - price) <= 0.05 * price


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
