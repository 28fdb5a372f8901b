"""Small networks of the classes of ``transformers``: seeded weights, an image in, one map out.

Their own initial weights are so small that a map is nearly constant. So each weight is drawn again, with the scale that keeps
the values' own. Attention is ``eager``: the fused operator of the Swin classes has no ONNX form.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 8
DPT_SIDE = 96
SWIN_SIDE = 128
SWIN_STAGES = ("stage1", "stage2", "stage3", "stage4")


class OneMap(nn.Module):
    """A model of the library that takes ``pixel_values``, and the tensor that is read off its answer."""

    def __init__(self, model: nn.Module, read: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self._read = model, read

    def forward(self, pixels: Tensor) -> Tensor:
        """Map a normalised image ``[1, 3, H, W]`` to one map."""
        return self._read(self.model(pixel_values=pixels))


def segformer() -> nn.Module:
    """A SegFormer of four stages: scores of 8 classes ``[1, 8, H/4, W/4]``."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    made: Any = SegformerConfig
    config = made(
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 32, 64, 96],
        num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=64,
        num_labels=CLASSES,
    )
    return _seeded(SegformerForSemanticSegmentation(config), lambda answer: answer.logits)


def dpt() -> nn.Module:
    """A DPT on a plain ViT: inverse depths ``[1, H, W]`` of images of 96 × 96."""
    from transformers import DPTConfig, DPTForDepthEstimation

    config = DPTConfig(
        hidden_size=48,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=DPT_SIDE,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 24, 32, 32],
        fusion_hidden_size=32,
        is_hybrid=False,
    )
    return _seeded(DPTForDepthEstimation(config), lambda answer: answer.predicted_depth)


def upernet() -> nn.Module:
    """An UperNet on a Swin: scores of 8 classes ``[1, 8, H, W]`` of images of 128 × 128."""
    from transformers import UperNetConfig, UperNetForSemanticSegmentation

    made: Any = UperNetConfig
    config = made(backbone_config=_swin(), hidden_size=32, num_labels=CLASSES, use_auxiliary_head=False)
    return _seeded(UperNetForSemanticSegmentation(config), lambda answer: answer.logits)


def mask2former() -> nn.Module:
    """A Mask2Former on a Swin: semantic scores of 8 classes ``[1, 8, 32, 32]`` of images of 128 × 128.

    The map is that of the library's ``post_process_semantic_segmentation``: the masks, weighed by the queries' classes.
    """
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    made: Any = Mask2FormerConfig
    config = made(
        backbone_config=_swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        dim_feedforward=64,
        encoder_layers=2,
        decoder_layers=3,
        num_attention_heads=4,
        num_queries=16,
        num_labels=CLASSES,
    )

    def semantic(answer: "Mask2FormerAnswer") -> Tensor:
        classes, masks = answer.class_queries_logits.softmax(-1)[..., :-1], answer.masks_queries_logits.sigmoid()
        return torch.einsum("bqc,bqhw->bchw", classes, masks)

    return _seeded(Mask2FormerForUniversalSegmentation(config), semantic)


class Mask2FormerAnswer:
    """What is read of a Mask2Former's answer: ``[B, Q, C + 1]`` and ``[B, Q, h, w]``."""

    class_queries_logits: Tensor
    masks_queries_logits: Tensor


def _swin() -> Any:  # the library's types lack fields that every configuration has
    from transformers import SwinConfig

    made: Any = SwinConfig
    return made(
        image_size=SWIN_SIDE,
        embed_dim=24,
        depths=[1, 1, 2, 1],
        num_heads=[1, 2, 4, 8],
        window_size=4,
        out_features=list(SWIN_STAGES),
    )


def _seeded(model: nn.Module, read: Callable[..., Tensor]) -> nn.Module:
    """Return a model whose every matrix keeps the variance of what it multiplies."""
    torch.manual_seed(0)
    model.set_attn_implementation("eager")  # type: ignore[operator]  # a method of the library's models
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter.data, nonlinearity="linear")
    return OneMap(model, read).eval()
