"""The model with preprocessing and postprocessing inside, so that a graph takes camera frames and gives maps."""

import torch
from torch import Tensor, nn

from bundle.formats.io_forms import IoForm
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

    def __init__(self, preprocess: Preprocess, form: IoForm) -> None:
        super().__init__()
        self.channels_last = form.channels_last
        shape = (3,) if form.channels_last else (3, 1, 1)
        mean, std = (
            torch.tensor(preprocess.mean, dtype=torch.float64),
            torch.tensor(preprocess.std, dtype=torch.float64),
        )
        self.register_buffer("scale", (1.0 / (255.0 * std)).float().reshape(shape), persistent=False)
        self.register_buffer("shift", (mean / std).float().reshape(shape), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map pixels of 0…255, in the form's dtype and layout, to float32 ``[1, 3, H, W]``."""
        normalised = image.float() * self.scale - self.shift
        return normalised.permute(0, 3, 1, 2) if self.channels_last else normalised


class Postprocessing(nn.Module):
    """One task's prediction, as its kind computes it in bundle/tasks/kinds/, in the form's dtype and axes."""

    def __init__(self, kind: Kind, form: IoForm) -> None:
        super().__init__()
        dtype, self.last = form.map_of(kind)
        self.verbs, self.dtype = tensors(kind), getattr(torch, dtype)

    def forward(self, raw: Tensor) -> Tensor:
        """Map a raw output ``[1, C, H, W]`` to a prediction ``[1, *axes, H, W]``, or ``[1, *axes, H, W, 1]``."""
        made = self.verbs.predict_as(raw, self.dtype)
        return made.unsqueeze(-1) if self.last else made


class MapModel(nn.Module):
    """Preprocessing, the model, and each task's postprocessing."""

    def __init__(self, model: nn.Module, preprocess: Preprocess, tasks: tuple[str, ...], form: IoForm) -> None:
        super().__init__()
        self.preprocess = Preprocessing(preprocess, form)
        self.model = model
        self.postprocess = nn.ModuleDict({name: Postprocessing(task(name).kind, form) for name in tasks})

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map the form's input to one prediction per task."""
        raw = self.model(self.preprocess(image))
        return tuple(self.postprocess[name](raw[name]) for name in self.postprocess)
