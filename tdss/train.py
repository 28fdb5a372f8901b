"""Train one model or several, in order; a killed run resumes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from rich.console import Console

from bundle.base.font_cache import font_cache_apart
from tdss.training import config as training_config
from tdss.training import loop
from tdss.training.progress import Display

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Accelerator: TypeAlias = Literal["auto", "cpu", "cuda"]


def train(paths: Sequence[Path], accelerator: Accelerator, devices: int) -> tuple[Path, ...]:
    """Train what each TOML file describes, and return the runs' checkpoints; of several processes the first one does.

    ``devices`` is the number of processes, one per GPU.

    Raises:
        ConfigError: a file is wrong; no run starts then.
        DatasetError: the data cannot be used.
    """
    console = Console(stderr=True)
    make_fabric = _import_fabric()
    configs, made = [training_config.read(path) for path in paths], list[Path]()
    for config in configs:
        fabric = make_fabric(accelerator=accelerator, devices=devices, precision=config.precision)
        fabric.launch()
        console.quiet = not fabric.is_global_zero
        with Display(config.name, console) as display:
            loop.train(config, fabric, display)
        made += [config.folder / "checkpoint"] if fabric.is_global_zero else []
    return tuple(made)


def _import_fabric() -> "type[Fabric]":
    with font_cache_apart():  # lightning imports torchmetrics, and that matplotlib, where they are installed
        from lightning.fabric import Fabric
    return Fabric
