"""VMT-Adapter and its Lite form: the equations of the reconstruction in NumPy, its size, its subsets and what folds."""

import numpy as np
import pytest
import torch

from compile.folding.engine import fold_graph
from tdss.adapters.vmt.config import VmtConfig
from tdss.adapters.vmt.modules import VmtBlock
from tdss.backbones.base import Flow
from tdss.backbones.swin import SwinBlock
from tdss.config import ModelConfig
from tdss.model import MultiTaskModel
from tdss.training.start import count_parameters
from tests.compile.folding.engine_cases import stays_the_same
from tests.compile.folding.models import adapted, make_image, make_model, outputs
from tests.compile.folding.project_models import exported
from tests.compile.folding.proven import CHEAP
from tests.tdss.adapters.test_mtlora import swin_t
from tests.tdss.oracle import array, far

FORMS = {"full": VmtConfig(kind="vmt", rank=3, scale=0.7), "lite": VmtConfig(kind="vmt", rank=3, scale=0.7, lite=True)}
TASKS = ("semseg", "depth")


def small(form: str) -> ModelConfig:
    return adapted(FORMS[form], tasks=TASKS)


@pytest.mark.parametrize("form", FORMS)
def test_a_block_is_its_equations(form: str) -> None:
    torch.manual_seed(0)
    plain = SwinBlock(8, 2, window=4, shifted=True, size=(8, 8), mlp=2.0, drop=0.0).double().eval()
    x = torch.randn(2, 8, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        after, tap = plain(Flow(x, {}))
        block = VmtBlock(plain, FORMS[form], TASKS).double()
        for name, parameter in block.named_parameters():
            if name.startswith("vmt."):
                torch.nn.init.normal_(parameter)
        flow, got = block(Flow(x, {}))
    weights = {name: array(parameter) for name, parameter in block.vmt.named_parameters()}
    up = weights["down"].T if form == "lite" else weights["up"]
    u = np.maximum(array(tap.mlp) @ weights["down"].T, 0) @ up.T
    assert far(array(after.x) + 0.7 * u, flow.x) < 1e-12
    assert got.streams is not None
    for task in TASKS:
        own = weights[f"gain.{task}"] * u + weights[f"shift.{task}"]
        assert far(array(after.x) + 0.7 * own, got.streams[task]) < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_the_size_is_that_of_the_formula(form: str) -> None:
    """Per block 2·d·r or, tied, d·r; per task and stage 2·d. Rank 28 is 0.9 % and 0.5 % of Swin-T's 27.5 M."""
    config = FORMS[form].model_copy(update={"rank": 28})
    blocks, stages = 96 * (2 + 2 * 2 + 6 * 4 + 2 * 8), 96 * (1 + 2 + 4 + 8)
    added = 28 * blocks * (1 if form == "lite" else 2) + 4 * 2 * stages
    without = count_parameters(swin_t(4).model_copy(update={"adapter": config}), ("decoders.*",)).trained
    assert count_parameters(swin_t(4).model_copy(update={"adapter": config})).trained == without + added


def test_the_full_form_starts_as_the_backbone() -> None:
    model, image = MultiTaskModel(small("full")).eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert all(torch.equal(tap.output, tap.blocks[-1].streams["depth"]) for tap in model.backbone(image))


@pytest.mark.parametrize("form", FORMS)
def test_a_subset_of_the_tasks_is_the_same_function(form: str) -> None:
    config = small(form)
    model = make_model(config)
    before = outputs(model, make_image(config))
    model.keep(("depth",))
    assert torch.equal(outputs(model, make_image(config))["depth"], before["depth"])
    assert not [name for name in model.state_dict() if "semseg" in name]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_it_folds_exactly(form: str) -> None:
    network = exported(small(form))
    stays_the_same(lambda model: fold_graph(model, CHEAP), network.model, network.feeds)
