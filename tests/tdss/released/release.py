"""Files as the released training code of MTLoRA and of what is built on it writes them."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor


def saved(path: Path, weights: Mapping[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write weights with DDP's prefix, the optimizer, and its settings as an object of yacs."""
    yacs, module = ModuleType("yacs"), ModuleType("yacs.config")

    class CfgNode(dict[str, object]):
        pass

    CfgNode.__module__, CfgNode.__qualname__, module.CfgNode = "yacs.config", "CfgNode", CfgNode  # type: ignore[attr-defined]
    content = {
        "model": {f"module.{name}": value for name, value in weights.items()},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "epoch": 299,
        "config": CfgNode(MODEL=CfgNode(NAME="tadformer")),
    }
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yacs", yacs)
        patch.setitem(sys.modules, "yacs.config", module)
        torch.save(content, path)
    return path
