"""The reference: the unfolded checkpoint in eager PyTorch, float32, on the CPU."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bundle.tasks.dataset import Image
from bundle.tasks.preprocess import Preprocess
from tdss.config import ModelConfig
from tdss.resized import load_at


class EagerModel:
    """A checkpoint ready to run; ``config`` is its configuration."""

    def __init__(self, checkpoint: Path, size: tuple[int, int] | None = None) -> None:
        """Load it, for images of ``size`` (rows, columns); None: those it was trained on.

        Raises:
            ConfigError: its config.toml is wrong.
            CheckpointError: its weights are wrong.
        """
        self.config: ModelConfig
        self.config, model, _ = load_at(checkpoint, size)
        self._model = model.float().eval()
        self.preprocess = Preprocess(**self.config.image.model_dump())

    @property
    def tasks(self) -> dict[str, int]:
        """The output channels of each task that is answered."""
        return dict(self.config.tasks)

    def keep(self, tasks: Sequence[str]) -> None:
        """Answer ``tasks`` only; what is answered is unchanged."""
        self._model.keep(tasks)
        self.config = self._model.config

    def run(self, image: Image, *, name: str) -> dict[str, NDArray[np.float32]]:
        """Return the raw output of each task, float32 ``[C, H, W]``, for a uint8 image ``[H, W, 3]``."""
        return self.answer(self.preprocess.apply(image, name=name))

    def answer(self, feed: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """Return the same for an image that is preprocessed, float32 ``[1, 3, H, W]``."""
        with torch.no_grad():
            return {task: output[0].numpy() for task, output in self._model(torch.from_numpy(feed)).items()}

    def compile(self) -> None:
        """Have ``torch.compile`` compile the model, with its defaults, when it first answers."""
        self._model.compile()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch use ``count`` threads within the block; 0 leaves its own choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
