"""The stem against a convolution of SciPy, and what it changes of a TDSS: one map more, and nothing without it."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.signal import correlate2d
from torch import nn

from tdss.adapters.config import TdssConfig
from tdss.adapters.stem import Stem
from tdss.backbones.config import ImageConfig, SwinConfig
from tdss.config import ModelConfig
from tdss.decoders.config import HrnetConfig
from tdss.model import MultiTaskModel


def model(stem: int, widths: tuple[int, ...]) -> ModelConfig:
    return ModelConfig(
        name="small",
        image=ImageConfig(height=32, width=48),
        backbone=SwinConfig(embed_dim=8, depths=(1, 1), heads=(1, 2), window=4),
        adapter=TdssConfig(experts=2, rank=2, gates=(("static",), ("dynamic",)), stem=stem),
        decoder=HrnetConfig(widths=widths, hidden=8, stride=4),
        tasks={"semseg": 3, "edge": 1},
    )


def test_equals_its_convolutions() -> None:
    torch.manual_seed(0)
    stem = Stem(5).double().eval()
    for tensor in (*stem.parameters(), *(x for name, x in stem.named_buffers() if name.endswith("running_mean"))):
        nn.init.normal_(tensor)
    image = np.random.default_rng(0).standard_normal((3, 22, 13))
    x = image
    for index, stride in enumerate((2, 2, 1, 1, 1, 1)):
        kernel, norm = stem.layers[3 * index].weight.detach().numpy(), stem.layers[3 * index + 1]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        x = np.stack([sum(correlate2d(c, k, "valid") for c, k in zip(padded, row, strict=True)) for row in kernel])
        gain, shift, mean, variance = (
            tensor.detach().numpy()[:, None, None]
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        )
        x = np.maximum((x[:, ::stride, ::stride] - mean) / np.sqrt(variance + 1e-5) * gain + shift, 0)
    got = stem(torch.from_numpy(image)[None])[0].permute(2, 0, 1).detach().numpy()
    assert got.shape == x.shape == (5, 6, 4) and np.abs(got - x).max() < 1e-11 * np.abs(x).max()


def test_every_decoder_gets_one_map_more_and_a_model_without_a_stem_has_the_tensors_it_had() -> None:
    torch.manual_seed(0)
    made = MultiTaskModel(model(6, (3, 4, 5))).eval()
    image = torch.randn(1, 3, 32, 48)
    features = made.adapter.features(made.backbone, image)
    assert {task: [tuple(x.shape[1:]) for x in maps] for task, maps in features.items()} == {
        task: [(8, 12, 6), (8, 12, 8), (4, 6, 16)] for task in ("semseg", "edge")
    }
    whole = made(image)["edge"]
    made.keep(["edge"])
    assert torch.equal(made(image)["edge"], whole)
    plain = MultiTaskModel(model(0, (4, 5))).state_dict()
    assert not any("stem" in name for name in plain) and len(made.state_dict()) > 0
    with pytest.raises(ValidationError, match=r"decoder\.widths has 2 entries, backbone and adapter give 3 maps"):
        model(6, (4, 5))
