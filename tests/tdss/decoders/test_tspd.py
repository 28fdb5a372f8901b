"""TS-PD against numbers of its released code and against PyTorch's Fourier transform."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tdss.backbones.config import StageShape
from tdss.decoders.base import Sizes
from tdss.decoders.tspd.config import TspdConfig
from tdss.decoders.tspd.modules import Consensus, TspdDecoders, TspdHead
from tdss.decoders.tspd.spectrum import Inverse, Transform, bands

ORACLE = Path(__file__).parents[1] / "oracles/faar"
BOUND = 1e-10  # tests/tdss/oracles/faar/README.md


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def arrays(kind: str) -> dict[str, np.ndarray]:
    with np.load(ORACLE / "modules.npz", allow_pickle=False) as stored:
        return {name.removeprefix(kind): stored[name] for name in stored.files if name.startswith(kind)}


def far(got: Tensor, want: np.ndarray) -> float:
    assert tuple(got.shape) == want.shape
    return float(np.abs(got.detach().numpy() - want).max() / np.abs(want).max())


def head_of(stored: dict[str, np.ndarray], config: TspdConfig, image: tuple[int, int], *, alone: bool) -> TspdHead:
    """A head with the oracle's filters."""
    head = TspdHead(config, 3, image, alone=alone).eval()
    prefixes = [f"w/lora_freqs.{branch}." for branch in range(len(config.widths))] if not alone else ["w/"]
    joined = {
        "delta": [stored[f"{prefix}lora_bin_weight"][0] for prefix in prefixes],
        "gain": [stored[f"{prefix}lora_ssf_scale"][0] for prefix in prefixes],
        "shift": [stored[f"{prefix}lora_ssf_shift"][0] for prefix in prefixes],
        "alpha": [stored[f"{prefix}lora_alpha"].reshape(1) for prefix in prefixes],
    }
    with torch.no_grad():
        for name, parts in joined.items():
            head.get_parameter(name).copy_(torch.tensor(np.concatenate(parts, -1)))
    return head


def test_the_filter_is_the_released_one() -> None:
    stored = arrays("cwsp/")
    config = TspdConfig(kind="tspd", widths=(3,), hidden=1, grid="released")
    head = head_of(stored, config, (48, 64), alone=True)
    got = head.inverse(head.filter(Transform((6, 8), (6, 8))(torch.tensor(stored["x"]))))
    assert far(got, stored["y"]) < BOUND
    band = bands((6, 8), "released", 16)
    assert np.array_equal(band.bins.numpy(), stored["bin_idx"])
    assert np.array_equal(band.low.numpy(), stored["mask_low"].astype(bool))
    assert np.array_equal(band.edge.double().numpy(), stored["mask_edge"])


def test_the_head_is_the_released_one() -> None:
    stored = arrays("head/")
    head = head_of(
        stored, TspdConfig(kind="tspd", widths=(2, 3, 2, 3), hidden=40, grid="released"), (64, 64), alone=False
    )
    names = {"0": "mix", "1": "norm", "3": "classify"}
    with torch.no_grad():
        for name in [name for name in stored if name.startswith("w/last_layer.")]:
            layer, tensor = name.removeprefix("w/last_layer.").split(".")
            head.get_submodule(names[layer]).state_dict()[tensor].copy_(torch.tensor(stored[name]))
        assert head.consensus is not None
        head.consensus.rates.copy_(
            torch.tensor(np.stack([stored[f"w/lora_eug_alpha_{band}"] for band in ("low", "high")]))
        )
        head.consensus.scales.copy_(
            torch.tensor(np.stack([stored[f"w/anchor_scale_{band}"] for band in ("low", "edge")]))
        )
        sizes = [stored[f"x{branch}"].shape[2:] for branch in range(4)]
        transforms = [Transform(size, (8, 8)) for size in sizes]

        def spectrum(prefix: str) -> Tensor:
            return torch.cat([f(torch.tensor(stored[f"{prefix}{branch}"])) for branch, f in enumerate(transforms)], 1)

        own, others = spectrum("x"), (spectrum("donor0/") + spectrum("donor1/")) / 2
        filtered = head.inverse(head.filter(own)).split([2, 3, 2, 3], 1)
        joined = head.inverse(head.consensus(head.filter(own), others))
        assert max(far(part, stored[f"after_cwsp/{branch}"]) for branch, part in enumerate(filtered)) < BOUND
        assert far(joined, stored["joined_after_xtcons"]) < BOUND
        assert far(head.classify(functional.relu(head.norm(head.mix(joined)))), stored["logits"]) < BOUND
        assert torch.equal(head(own, others), head.mixed(joined))


@pytest.mark.parametrize("grid", [(8, 8), (7, 9), (6, 5), (56, 56)])
def test_the_products_are_the_transform_of_the_resized_map(grid: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 4, 5)
    want = torch.fft.rfft2(functional.interpolate(x, size=grid, mode="bilinear"), norm="ortho")
    got = Transform((4, 5), grid)(x)
    assert torch.allclose(torch.view_as_complex(got.movedim(2, -1).contiguous()), want, rtol=0, atol=1e-12)
    spectrum = torch.randn(2, 3, 2, grid[0], grid[1] // 2 + 1)  # no spectrum of a real map
    complex_ = torch.view_as_complex(spectrum.movedim(2, -1).contiguous())
    back = torch.fft.irfft2(complex_, s=grid, norm="ortho")
    assert torch.allclose(Inverse(grid)(spectrum), back, rtol=0, atol=1e-12)


def test_mixed_precision_leaves_the_transform_as_it_is() -> None:
    torch.set_default_dtype(torch.float32)
    x, there, back = torch.randn(1, 2, 8, 8).bfloat16(), Transform((8, 8), (8, 8)), Inverse((8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        returned = back(there(x))
    assert returned.dtype == torch.float32 and torch.allclose(returned, x.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("grid", [(8, 8), (7, 9), (28, 28)])
def test_the_centred_grid_has_frequency_zero_in_the_middle_and_is_symmetric(grid: tuple[int, int]) -> None:
    band, other = bands(grid, "centred", 16), bands(grid, "released", 16)
    assert band.bins[0, 0] == 0 and band.low[0, 0] and not band.edge[0, 0]
    assert other.bins[0, 0] == 15 and not other.low[0, 0] and other.edge[0, 0] > 0.999
    assert torch.equal(band.mirrored, band.bins) and not torch.equal(other.mirrored, other.bins)


def decoders(size: int, tasks: dict[str, int]) -> TspdDecoders:
    sides = [size // 8, size // 16, size // 32, size // 32]
    shapes = tuple(StageShape(width, side, side) for width, side in zip((6, 12, 24, 24), sides, strict=True))
    return TspdDecoders(
        TspdConfig(kind="tspd", widths=(2, 3, 4, 5), hidden=6), Sizes(shapes, tasks, (size, size))
    ).eval()


def test_a_task_reads_the_others_and_one_alone_reads_itself() -> None:
    made = decoders(224, {"semseg": 4, "depth": 1, "edge": 1})
    features = {
        task: [torch.randn(1, side, side, width) for side, width in zip((28, 14, 7, 7), (6, 12, 24, 24), strict=True)]
        for task in ("semseg", "depth", "edge")
    }
    before = made(features)
    moved = {**features, "depth": [2 * x for x in features["depth"]]}
    assert not torch.allclose(made(moved)["semseg"], before["semseg"])
    assert made.needed(("edge",)) == ("semseg", "depth", "edge")
    made.keep(("edge",))
    assert torch.equal(made(features)["edge"], before["edge"])
    alone = decoders(224, {"edge": 1})
    assert alone({"edge": features["edge"]})["edge"].shape == (1, 1, 224, 224)
    assert not [name for name, _ in alone.named_parameters() if "consensus" in name]


def test_shapes_at_448() -> None:
    with torch.device("meta"):
        made = decoders(448, {"semseg": 21, "saliency": 1})
        maps = [
            torch.empty(1, side, side, width) for side, width in zip((56, 28, 14, 14), (6, 12, 24, 24), strict=True)
        ]
        answers = made({"semseg": maps, "saliency": maps})
    assert {task: tuple(x.shape) for task, x in answers.items()} == {
        "semseg": (1, 21, 448, 448),
        "saliency": (1, 1, 448, 448),
    }


def test_meta_of_the_oracle_is_what_the_tests_assume() -> None:
    meta = json.loads((ORACLE / "modules.json").read_text())["meta"]
    assert meta["head"]["channels"] == [2, 3, 2, 3] and meta["head"]["donors"] == 2 and meta["cwsp"]["bins"] == 16


def test_a_frequency_that_only_other_tasks_have_is_finite_in_fp16() -> None:
    band = bands((4, 4), "centred", 4)
    own, others = torch.zeros(2, 1, 1, 2, 4, 3)
    others += 10
    own[..., 1:, :] = 5
    consensus = Consensus([1], band.low, band.edge)
    want = consensus(own, others)
    got = consensus.half()(own.half(), others.half())
    assert far(got.double(), want.detach().numpy()) < 1e-2
