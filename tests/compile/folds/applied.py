"""Apply rules to a model, and what must hold then: the same outputs, no more cost; an untouched model where one refuses."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import nn

from compile.folds.base import Fold, Rewrite, Step
from compile.folds.cost import trace_cost
from compile.folds.table import FOLDS
from compile.module_folds import EXACT_RELATIVE
from tdss.model import MultiTaskModel
from tests.compile.folds.models import make_image, outputs, relative

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def few(examples: int) -> settings:
    """Hypothesis with the same ``examples`` in every run."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=SLOW, derandomize=True)


def fold_with(rule: Fold, model: nn.Module) -> list[Step]:
    """Apply one rule wherever it may, in place, whatever it costs; return the plan."""
    lines = [line for line in rule.candidates(model) if line.decision == "folded"]  # type: ignore[arg-type]
    steps = [Step(rule=rule.name, module=line.module, keep=line.keep, form=line.form) for line in lines]
    for step in steps:
        rule.apply(model, step)  # type: ignore[arg-type]
    return steps


def fold_all(model: MultiTaskModel) -> list[Step]:
    """Apply every rule in the table's order, as ``fold_with`` does; return the plan."""
    return [step for rule in FOLDS for step in fold_with(rule, model)]


def fold_exactly(rule: Fold, model: MultiTaskModel) -> list[Step]:
    """Apply one rule and check that the outputs stay, that it adds no MACs and no bytes, and that nothing is left to fold."""
    image = make_image(model.config)
    before, cost = outputs(model, image), trace_cost(model, image.shape).total
    steps = fold_with(rule, model)
    after = trace_cost(model, image.shape).total
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE
    assert after.macs <= cost.macs and after.moved <= cost.moved
    assert fold_with(rule, model) == []
    return steps


def change(rule: Fold, model: MultiTaskModel) -> float:
    """Apply one rule wherever it may and return the relative change of the outputs."""
    image = make_image(model.config)
    before = outputs(model, image)
    fold_with(rule, model)
    return relative(before, outputs(model, image))


def reasons(rule: Fold, model: nn.Module, decision: str) -> dict[str, str]:
    """Return the reason of every module the rule decided so about."""
    lines = rule.candidates(model)  # type: ignore[arg-type]
    return {line.module: line.reason for line in lines if line.decision == decision}


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Check that no module of ``model`` is replaced, and no value changed, within the block."""
    modules = dict(model.named_modules())
    values = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield
    assert dict(model.named_modules()) == modules  # modules are compared by identity
    after = model.state_dict()
    assert list(after) == list(values)
    assert all(torch.equal(after[name], tensor) for name, tensor in values.items())


def refuses(rule: Rewrite, model: nn.Module, module: str, match: str) -> None:
    """Check that a step on ``module`` is refused with these words, and changes nothing."""
    with untouched(model), pytest.raises(TypeError, match=match):
        rule.apply(model, Step(rule=rule.name, module=module))  # type: ignore[arg-type]


def zero(model: nn.Module, *names: str) -> None:
    """Set parameters, or with ``name:first-last`` rows of them, to 0."""
    with torch.no_grad():
        for name in names:
            place, _, rows = name.partition(":")
            model.get_parameter(place)[slice(*map(int, rows.split("-"))) if rows else slice(None)] = 0
