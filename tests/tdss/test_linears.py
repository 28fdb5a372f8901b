"""A linear of a matrix, and modules by their place."""

import pytest
import torch
from torch import nn

from tdss.linears import bias_of, linear_at, linear_of, set_module


@pytest.mark.parametrize("biased", [True, False])
def test_a_linear_of_a_matrix_has_its_values_and_type(biased: bool) -> None:
    weight, bias = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    linear, x = linear_of(weight, bias if biased else None), torch.randn(4, 3, dtype=torch.float64)
    assert torch.allclose(linear(x), x @ weight.T + (bias if biased else 0), atol=1e-12)
    found = bias_of(linear)
    assert (found is not None) == biased and all(part.dtype == torch.float64 for part in linear.parameters())


def test_a_module_is_found_and_replaced_by_its_path() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 4)))
    new = nn.Linear(3, 5)
    set_module(model, "1.1", new)
    assert linear_at(model, "1.1") is new and model(torch.zeros(1, 2)).shape == (1, 5)
    with pytest.raises(TypeError, match=r"1\.0 is no Linear"):
        linear_at(model, "1.0")
