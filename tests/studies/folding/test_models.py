"""The unfolded model that the benchmark exports computes what the eager one does; the baseline is no other model either."""

import pytest
import torch

from studies.folding.models import Form, batch_tasks, random_model, tiny
from tdss.adapters.config import Gate, TdssConfig
from tdss.config import ModelConfig
from tdss.model import MultiTaskModel


def answers(model: MultiTaskModel, config: ModelConfig) -> dict[str, torch.Tensor]:
    """The model's outputs, float64."""
    torch.manual_seed(1)
    image = torch.randn(1, 3, config.image.height, config.image.width, dtype=torch.float64)
    with torch.no_grad():
        found: dict[str, torch.Tensor] = model.double()(image)
    return found


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether every output agrees to 1e-11 of its largest value."""
    return list(one) == list(other) and all(
        float((one[task] - other[task]).abs().max() / other[task].abs().max()) < 1e-11 for task in other
    )


@pytest.mark.parametrize("form", ["skills", "hidden"])
@pytest.mark.parametrize("gate", ["static", "dynamic"])
@pytest.mark.parametrize("tsai", ["off", "static", "dynamic"])
def test_batching_experts_and_tasks_changes_nothing(gate: Gate, tsai: str, form: Form) -> None:
    config = tiny(gate)
    assert isinstance(config.adapter, TdssConfig)
    adapter = config.adapter.model_copy(update={"tsai": tsai, "insertion": "both", "alpha": 0.7})
    config = config.model_copy(update={"adapter": adapter})
    want = answers(random_model(config, 0), config)
    assert close(answers(batch_tasks(random_model(config, 0), form), config), want)


def test_random_weights_are_the_seeds_and_none_is_zero() -> None:
    one, same, other = (random_model(tiny("static"), seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert all(bool(one[name].ne(0).all()) for name in one if name.endswith("up.weight"))
