"""Random views of a batch: one crop per sample, one colour matrix per image.

Geometry. A crop ``[top, left, height, width]`` is resized to the full size, bilinear with antialiasing for the image. A flip
mirrors x. What a view does to a label is a verb of the task's kind (tdss/kinds/).

Paste. A rectangle of a sample is replaced, in the image and in every label, by the same rectangle of the batch's next
sample (CutMix; Yun et al., ICCV 2019; as for segmentation in French et al., BMVC 2020). The seam is in no label.

Colour. Brightness, contrast, saturation and channel gain are affine in RGB, so they and the normalisation compose to one
``y = M x + d`` per image with ``M`` 3×3.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from tdss.backbones.config import ImageConfig
from tdss.training.config import AugmentConfig

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def crops(count: int, height: int, width: int, config: AugmentConfig, generator: torch.Generator) -> list[list[int]]:
    """Draw one ``[top, left, height, width]`` in pixels per sample."""
    draws = torch.rand(count, 5, generator=generator).tolist()
    boxes = []
    for zoom, scale, stretch, down, across in draws:
        side = config.scale + (1 - config.scale) * scale if zoom < config.zoom else 1.0
        aspect = math.exp((2 * stretch - 1) * math.log1p(config.stretch) / 2) if zoom < config.zoom else 1.0
        rows = min(height, max(1, round(height * side * aspect)))
        columns = min(width, max(1, round(width * side / aspect)))
        boxes.append([round(down * (height - rows)), round(across * (width - columns)), rows, columns])
    return boxes


def view_images(images: Tensor, boxes: list[list[int]], flips: list[bool]) -> Tensor:
    """Crop, resize and flip uint8 images [B, 3, H, W]; the result has the same shape and type."""
    result = torch.empty_like(images)
    for index, ((top, left, rows, columns), flip) in enumerate(zip(boxes, flips, strict=True)):
        part = images[index : index + 1, :, top : top + rows, left : left + columns]
        if (rows, columns) != images.shape[2:]:
            part = functional.interpolate(part, images.shape[2:], mode="bilinear", antialias=True)
        result[index] = part[0].flip(-1) if flip else part[0]
    return result


def pastes(
    count: int, height: int, width: int, config: AugmentConfig, generator: torch.Generator
) -> list[list[int] | None]:
    """Draw one rectangle ``[top, left, height, width]`` in pixels per sample, or None: a quarter to half of the area."""
    boxes: list[list[int] | None] = []
    for chance, area, stretch, down, across in torch.rand(count, 5, generator=generator).tolist():
        side, aspect = math.sqrt(0.25 + 0.25 * area), math.exp((stretch - 0.5) * math.log(2))
        rows, columns = round(height * side * aspect), round(width * side / aspect)
        box = [round(down * (height - rows)), round(across * (width - columns)), rows, columns]
        boxes.append(box if chance < config.paste else None)
    return boxes


def paste(batch: Tensor, boxes: list[list[int] | None]) -> Tensor:
    """Replace each sample's rectangle by the next sample's pixels there; batch [B, ..., H, W] of any type."""
    result = batch.clone()
    for index, box in enumerate(boxes):
        if box is not None:
            (top, left, rows, columns), source = box, batch[(index + 1) % len(batch)]
            part = (..., slice(top, top + rows), slice(left, left + columns))
            result[index][part] = source[part]
    return result


def colour(count: int, image: ImageConfig, config: AugmentConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw ``M`` [B, 3, 3] and ``d`` [B, 3, 1] that map x in 0…255 to the jittered, normalised input."""
    draw = 2 * torch.rand(count, 6, generator=generator) - 1
    contrast = 1 + config.contrast * draw[:, 0]
    saturation = (1 + config.saturation * draw[:, 1])[:, None, None]
    gain = 1 + config.gain * draw[:, 2:5]
    shift = config.brightness * draw[:, 5] + 0.5 * (1 - contrast)
    grey = torch.tensor(LUMA).expand(3, 3)
    matrix = (saturation * torch.eye(3) + (1 - saturation) * grey) * (contrast[:, None] * gain)[:, :, None]
    mean, std = torch.tensor(image.mean), torch.tensor(image.std)
    return matrix / (255 * std[:, None]), ((shift[:, None] * gain - mean) / std)[:, :, None]


def recolour(images: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """Apply one colour map per image: uint8 [B, 3, H, W] to float32 [B, 3, H, W]."""
    flat = images.flatten(2).float()
    return torch.baddbmm(shift, matrix, flat).view(images.shape)
