"""Train one model or several in order: ``python -m tdss.train --config a.toml b.toml``. A killed run resumes."""

import argparse
from pathlib import Path

from lightning.fabric import Fabric
from rich.console import Console

from bundle.terminal import exit_status
from tdss.training import config as training_config
from tdss.training import loop
from tdss.training.progress import Display


@exit_status()
def main(arguments: list[str] | None = None) -> None:
    """Train what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tdss.train", description=__doc__)
    parser.add_argument("--config", nargs="+", type=Path, required=True, help="one TOML file per run, in order")
    parser.add_argument("--devices", type=int, default=1, help="processes, one per GPU (default 1)")
    parser.add_argument(
        "--accelerator", default="auto", choices=("auto", "cpu", "cuda"), help="default: a GPU if there is one"
    )
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    configs = [training_config.read(path) for path in options.config]
    for config in configs:
        fabric = Fabric(accelerator=options.accelerator, devices=options.devices, precision=config.precision)
        fabric.launch()
        console.quiet = not fabric.is_global_zero
        with Display(config.name, console) as display:
            loop.train(config, fabric, display)


if __name__ == "__main__":
    main()
