"""Train one model or several in order: ``python -m tdss.train --config a.toml b.toml``. A killed run resumes."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bundle.base.arguments import within
from bundle.base.font_cache import font_cache_apart
from bundle.base.terminal import exit_status
from tdss.training import config as training_config
from tdss.training import loop
from tdss.training.progress import Display

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@exit_status()
def main(arguments: list[str] | None = None) -> None:
    """Train what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tdss.train", description=__doc__)
    parser.add_argument("--config", nargs="+", type=Path, required=True, help="one TOML file per run, in order")
    parser.add_argument("--devices", type=within(1, "processes"), default=1, help="processes, one per GPU (default 1)")
    parser.add_argument(
        "--accelerator", default="auto", choices=("auto", "cpu", "cuda"), help="default: a GPU if there is one"
    )
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    make_fabric = _import_fabric()
    configs = [training_config.read(path) for path in options.config]
    for config in configs:
        fabric = make_fabric(accelerator=options.accelerator, devices=options.devices, precision=config.precision)
        fabric.launch()
        console.quiet = not fabric.is_global_zero
        with Display(config.name, console) as display:
            loop.train(config, fabric, display)


def _import_fabric() -> "type[Fabric]":
    with font_cache_apart():  # lightning imports torchmetrics, and that matplotlib, where they are installed
        from lightning.fabric import Fabric
    return Fabric


if __name__ == "__main__":
    main()
