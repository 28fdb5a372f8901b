"""docs/folding.md: a row for every rule there is, and what builds of some tasks save."""

from pathlib import Path

import torch

from compile.bench_graphs import config_of, image_shape, write_image
from compile.bench_models import random_model
from compile.folding_table import ALGEBRA, milliseconds, subset
from compile.folds.cost import trace_cost
from compile.folds.freeze_gate import DropSkills, FreezeGate
from compile.folds.table import FOLDS
from compile.module_folds import TASK_SUBSET, rewrite


def test_every_rule_has_its_algebra() -> None:
    rules = {rule.name for rule in FOLDS} | {FreezeGate.name, DropSkills.name, TASK_SUBSET}
    assert {entry.rule for entry in ALGEBRA} == rules


def test_a_subset_costs_less_and_answers_the_same() -> None:
    config = config_of("tiny", "dynamic", tasks=6)
    model, batch = random_model(config, seed=0).eval(), torch.rand(1, 3, config.image.height, config.image.width)
    whole, _ = rewrite(model, batch.shape, mode="all")
    cost = trace_cost(whole, batch.shape).total
    small = subset(model, whole, batch, ("semseg", "depth"))
    assert small.cost.macs < cost.macs and small.cost.params < cost.params
    assert small.relative <= 1e-11


def test_its_milliseconds_are_measured(tmp_path: Path) -> None:
    config = config_of("tiny", "static", tasks=1)
    folded, _ = rewrite(random_model(config, seed=0).eval(), image_shape(config), mode="all")
    [found] = milliseconds([folded], write_image(tmp_path, config), threads=1)
    assert found > 0
