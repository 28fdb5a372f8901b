"""A module as ONNX, without the one rule of onnxscript that takes a third of the time and fires on no model here."""

import numpy as np
import pytest
import torch
from onnxscript import rewriter
from torch import nn

from compile.graphs.torch_export import PAIRS, to_onnx
from tests.compile.graphs.passes.made import run


class Halves(nn.Module):
    """The two halves of the channels, multiplied: the pattern of that rule."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, :3] * pixels[:, 3:]


@pytest.mark.slow
def test_slices_stay_slices_and_the_librarys_rules_are_as_they_were() -> None:
    before = rewriter._DEFAULT_REWRITE_RULES
    assert [rule.name for rule in before].count(PAIRS) == 1
    pixels = torch.arange(24, dtype=torch.float32).reshape(1, 6, 2, 2)
    graph = to_onnx(Halves().eval(), (pixels,), ["pixels"], ["product"])
    assert rewriter._DEFAULT_REWRITE_RULES is before
    assert sorted(node.op_type for node in graph.graph) == ["Mul", "Slice", "Slice"]
    [product] = run(graph, pixels=pixels.numpy())
    np.testing.assert_array_equal(product, (pixels[:, :3] * pixels[:, 3:]).numpy())
