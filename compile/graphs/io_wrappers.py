"""The model with preprocessing and postprocessing inside, so that a graph takes camera frames and gives maps."""

import torch
from torch import Tensor, nn

from bundle.tasks.kinds.kind import Kind
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.table import task
from tdss.kinds.tensor_kind import tensors


class RawModel(nn.Module):
    """The model as it is, its outputs as a tuple in task order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map float32 ``[1, 3, H, W]`` to one raw output ``[1, C, H, W]`` per task."""
        return tuple(self.model(image).values())


class Preprocessing(nn.Module):
    """``bundle.tasks.preprocess`` as a graph: x times 1/(255·std), minus mean/std, in float32."""

    scale: Tensor
    shift: Tensor

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        mean, std = (
            torch.tensor(preprocess.mean, dtype=torch.float64),
            torch.tensor(preprocess.std, dtype=torch.float64),
        )
        self.register_buffer("scale", (1.0 / (255.0 * std)).float(), persistent=False)
        self.register_buffer("shift", (mean / std).float(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 ``[1, H, W, 3]`` to float32 ``[1, 3, H, W]``."""
        return (image.float() * self.scale - self.shift).permute(0, 3, 1, 2)


class Postprocessing(nn.Module):
    """One task's prediction, as its kind computes it in bundle/tasks/kinds/."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.verbs = tensors(kind)

    def forward(self, raw: Tensor) -> Tensor:
        """Map a raw output ``[1, C, H, W]`` to a prediction ``[1, *axes, H, W]``."""
        return self.verbs.predict(raw)


class EdgeModel(nn.Module):
    """Preprocessing, the model, and each task's postprocessing."""

    def __init__(self, model: nn.Module, preprocess: Preprocess, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.preprocess = Preprocessing(preprocess)
        self.model = model
        self.postprocess = nn.ModuleDict({name: Postprocessing(task(name).kind) for name in tasks})

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map uint8 ``[1, H, W, 3]`` to one prediction per task."""
        raw = self.model(self.preprocess(image))
        return tuple(self.postprocess[name](raw[name]) for name in self.postprocess)
