"""Some of a graph's outputs: what is kept is the same function, and what only others need is gone."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.base.errors import ConfigError
from compile.folding.task_subset import TASK_SUBSET, keep_outputs, subset_line
from compile.graphs.cost import graph_cost
from compile.graphs.pytorch.evaluate import evaluate
from tdss.adapters.config import TdssConfig
from tdss.config import ModelConfig
from tests.compile.folding.applied import few
from tests.compile.folding.models import TASKS, make_config, make_model
from tests.compile.folding.project_models import project_configs
from tests.compile.folding.proven import feed_of, fold_exactly, graph_of

pytestmark = pytest.mark.slow

BASE = TdssConfig(experts=4, rank=3, gates=(("static", "dynamic"), ("dynamic",)))
KEPT = ("depth", "semseg")  # in the graph's order: semseg is the first task, depth the fifth


def whole(**options: object) -> ir.Model:
    """The small model of all tasks."""
    return graph_of(make_model(make_config(BASE.model_copy(update=options))))


@few(4)
@given(project_configs, st.data())
def test_any_outputs_of_any_model_stay_the_same(config: ModelConfig, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(list(config.tasks)), min_size=1, unique=True))
    graph = graph_of(make_model(config))
    small = keep_outputs(graph, chosen)
    feed = feed_of(graph)
    want, got = evaluate(graph, feed), evaluate(small, feed)
    assert list(got) == [task for task in config.tasks if task in chosen]
    assert all(np.array_equal(got[name], want[name]) for name in got)
    fold_exactly(small)


@pytest.mark.parametrize("tsai", ["off", "static", "dynamic"])
def test_what_only_other_tasks_need_is_gone(tsai: str) -> None:
    graph = whole(tsai=tsai)
    small, folded = keep_outputs(graph, KEPT), fold_exactly(keep_outputs(graph, KEPT))
    names = {str(value.name) for node in small.graph for value in node.outputs}
    assert not [name for name in names if "decoders.edge" in name] and [
        name for name in names if "decoders.depth" in name
    ]
    costs = [graph_cost(one) for one in (graph, small, folded)]
    assert costs[0].macs > costs[1].macs > costs[2].macs and costs[0].params > costs[1].params
    assert len(graph.graph.outputs) == len(TASKS)  # the graph given is left as it is


def test_the_line_says_what_it_saves() -> None:
    graph = whole()
    small = keep_outputs(graph, KEPT)
    line = subset_line(graph, small)
    assert (line.rule, line.form, line.exact, line.decision) == (TASK_SUBSET, "semseg,depth", True, "folded")
    assert line.reason == "what only human_parts, saliency, normals, edge needs is gone"
    was, now = graph_cost(graph), graph_cost(small)
    assert (line.macs_before, line.bytes_before, line.params_before) == (was.macs, was.moved, was.params)
    assert (line.macs_after, line.bytes_after, line.params_after) == (now.macs, now.moved, now.params)


@pytest.mark.parametrize(
    ("tasks", "got"),
    [(("depth", "flow"), "depth, flow"), (("depth", "depth"), "depth, depth"), ((), "no task")],
    ids=["unknown", "twice", "none"],
)
def test_an_output_it_does_not_have_is_refused_by_name(tasks: tuple[str, ...], got: str) -> None:
    graph = whole()
    with pytest.raises(ConfigError, match="these tasks cannot be kept") as refused:
        keep_outputs(graph, tasks)
    assert refused.value.got == got and len(graph.graph.outputs) == len(TASKS)
