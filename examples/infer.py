"""Run a bundle on one image and write what each task sees as a PNG: ``python -m examples.infer BUNDLE IMAGE --out DIR``.

BUNDLE is a folder, or an archive NAME.zip. IMAGE has the model's size, or any size if the bundle's data has a size policy. It
is a PNG or JPEG file, for which Pillow is needed, or a .npy file that holds uint8 [height, width, 3], RGB. All else needs NumPy,
pydantic and the target's runtime only.
"""

import argparse
from pathlib import Path

from bundle.base.arguments import Parser
from bundle.base.errors import InputError
from bundle.base.png import png
from bundle.base.terminal import exit_status, print_answer
from bundle.formats.manifest import Bundle
from bundle.judging.frames import feed, predictions
from bundle.tasks.dataset import read_image
from bundle.tasks.kinds.colours import Rgb
from bundle.tasks.spec import Array
from bundle.tasks.table import task
from bundle.transport.archive import unpack_beside
from bundle.transport.signature import load_trusted
from targets.base import Execute, RunConfig
from targets.open import open_session


def infer(bundle: Bundle, frame: Array, *, name: str, execute: Execute) -> dict[str, Array]:
    """Return each task's map of a frame: labels, probabilities, unit normals or metres."""
    fed = feed(bundle.manifest, frame, name=name)
    session, _ = open_session(
        bundle, execute=execute, variant="", run=RunConfig()
    )  # "": the one that choice.json names
    with session:
        return predictions(
            bundle.manifest, session.infer(fed)
        )  # a program keeps the session, and calls it for each frame


def picture(bundle: Bundle, name: str, values: Array) -> Rgb:
    """Draw a task's map as uint8 RGB ``[height, width, 3]``: classes in the data set's colours, depths from near to far."""
    kind = task(name).kind
    return kind.draw(values, kind.inks(bundle.manifest.dataset.palettes.get(name, ()), values))


@exit_status()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    given = _parser().parse_args(arguments)
    folder = unpack_beside(given.bundle, key=given.key) if given.bundle.is_file() else given.bundle
    _require_new(given.out, folder)
    bundle = load_trusted(folder, given.key)
    maps = infer(bundle, read_image(given.image, as_shown=True), name=str(given.image), execute=given.execute)
    given.out.mkdir(parents=True)
    for name, values in maps.items():
        (given.out / f"{name}.png").write_bytes(png(picture(bundle, name, values)))
        print_answer(f"{given.out / name}.png")


def _require_new(out: Path, bundle: Path) -> None:
    if out.exists() or bundle.resolve() in out.resolve().parents:
        raise InputError(
            "the pictures need a folder of their own",
            expected="--out: a folder that does not exist, outside of the bundle",
            got=str(out),
            where="--out",
            fix="name another folder, or remove this one",
        )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m examples.infer", description="Draw what each task sees in an image.")
    parser.add_argument("bundle", type=Path, help="a bundle's folder, or its archive NAME.zip")
    parser.add_argument(
        "image",
        type=Path,
        help="a PNG, JPEG or .npy file of the model's size, or of any if the bundle's data has a size policy",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make, one PNG per task")
    parser.add_argument("--execute", choices=("auto", "device", "emulation"), default="auto", help="default: auto")
    parser.add_argument(
        "--key", type=Path, metavar="PUB", help="refuse a bundle that is not signed with this public key"
    )
    return parser


if __name__ == "__main__":
    main()
