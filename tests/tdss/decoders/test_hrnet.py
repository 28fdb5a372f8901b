"""The decoder: published parameter counts, and its resize against the mean it stands for."""

import torch

from tdss.decoders.config import HrnetConfig
from tdss.decoders.hrnet import HrnetDecoder, resize


def test_published_decoder_parameters() -> None:
    """MTLoRA, PASCAL, four tasks, Swin-T: 1,946,624 with widths 192/384/768/768 and hidden 1080 (its public count)."""
    config = HrnetConfig(hidden=1080, mix_bias=True)
    decoders = [HrnetDecoder(config, [192, 384, 768, 768], channels, (448, 448)) for channels in (21, 7, 1, 3)]
    assert sum(p.numel() for decoder in decoders for p in decoder.parameters()) == 1_946_624


def test_output_is_the_image_size() -> None:
    decoder = HrnetDecoder(HrnetConfig(widths=(2, 3), hidden=4), [5, 6], 7, (40, 24)).eval()
    out = decoder([torch.randn(2, 10, 6, 5), torch.randn(2, 5, 3, 6)])
    assert out.shape == (2, 7, 40, 24)


def test_halving_is_a_mean() -> None:
    x = torch.randn(1, 2, 4, 6, dtype=torch.float64)
    want = (x[..., 0::2, 0::2] + x[..., 1::2, 0::2] + x[..., 0::2, 1::2] + x[..., 1::2, 1::2]) / 4
    assert torch.allclose(resize(x, (2, 3)), want, rtol=0, atol=1e-15)
