"""A published data set becomes a labelled folder: read, resized where that is asked for, checked and written, image by image."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import numpy as np

from bundle.base.errors import DatasetError, not_installed
from bundle.base.frozen import Frozen
from bundle.base.limits import CountOrNone, Side
from bundle.formats.outputs import nothing, replacing, require_folder
from bundle.tasks.dataset import SPEC_FILE, Image, check_encoded
from bundle.tasks.published_resize import encode_directions, resize_image, resize_label, unit
from bundle.tasks.resize import Size
from bundle.tasks.spec import Array, Overshoot
from labelled_folder.published.layout import Example, Ids, Layout

Track: TypeAlias = Callable[[Iterable[tuple[str, str]]], Iterable[tuple[str, str]]]
TRAIN, EVALUATION, CALIBRATION = "train", "val", "calibration"


class Terms(Frozen):
    """What is written: ``calibration`` images of train; all of train with ``train``.

    ``size`` None keeps each image's own. The folder then declares ``overshoot`` as its size policy.
    """

    size: tuple[Side, Side] | None = None
    overshoot: Overshoot = "clipped"
    calibration: CountOrNone = 64
    train: bool = False


def convert(layout: Layout, source: Path, out: Path, terms: Terms, track: Track) -> Mapping[str, int]:
    """Write a published data set as a labelled folder and return how many images each split has.

    ``track`` passes the pairs of published split and id on, and may show how many are done.

    Raises:
        InputError: something is at ``out`` already, it is in or around the source, or it cannot be written.
        DatasetError: a file of the source is missing, unreadable, or not what the layout has there.
        TargetUnavailable: Pillow or scipy is not installed.
    """
    require_folder(out, nothing, [source])
    pillow = _pillow(source)
    train, evaluation = layout.ids(source, TRAIN), layout.ids(source, EVALUATION)
    if both := sorted(set(train) & set(evaluation)):
        raise _shared(both, source)
    calibration = spread(train, terms.calibration)
    splits = {CALIBRATION: calibration, EVALUATION: evaluation, **({TRAIN: train} if terms.train else {})}
    used = train if terms.train else calibration
    with replacing(out, nothing) as folder:
        for split, identifier in track([(TRAIN, name) for name in used] + [(EVALUATION, name) for name in evaluation]):
            _write(layout, source, split, identifier, folder, terms, pillow)
        for split, ids in splits.items():
            (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
        declared = {} if terms.size is not None else {"schema_version": 3, "size_policy": terms.overshoot}
        spec = layout.spec.model_copy(update=declared)
        (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return {split: len(ids) for split, ids in splits.items()}


def spread(ids: Ids, count: int) -> Ids:
    """Return ``count`` of the ids at even steps, in their order; all of them if there are no more."""
    picks = np.linspace(0, len(ids), min(count, len(ids)), endpoint=False).astype(np.int64)
    return tuple(ids[pick] for pick in picks)


def _write(
    layout: Layout, source: Path, split: str, identifier: str, folder: Path, terms: Terms, pillow: ModuleType
) -> None:
    example = layout.read(source, split, identifier)
    image, labels = fitted(example, terms.size, terms.overshoot)
    for name, array in {"image": image, **labels}.items():
        (folder / name).mkdir(exist_ok=True)
        if name in labels:
            check_encoded(name, array, layout.spec, where=f"{name} of {identifier} in {source}")
        pillow.fromarray(array).save(folder / name / f"{identifier}.png")


def fitted(example: Example, size: Size | None, overshoot: Overshoot) -> tuple[Image, Mapping[str, Array]]:
    """Return an image and its encoded labels at one size; a label of another size than its image gets the image's first."""
    own = (example.image.shape[0], example.image.shape[1])
    image = example.image if size is None else resize_image(example.image, size, overshoot)
    labels = {}
    for name, label in example.labels.items():
        for step in (own, size or own):
            label = label if label.shape[:2] == step else resize_label(label, step)
        labels[name] = encode_directions(unit(label.astype(np.float64))) if label.ndim == 3 else label
    return image, labels


def _shared(ids: list[str], source: Path) -> DatasetError:
    return DatasetError(
        "the splits of the data set share images",
        expected="an id in train or in val",
        got=f"{len(ids)} ids in both, {ids[0]!r} is the first",
        where=str(source),
        fix="unpack the files of its splits again",
    )


def _pillow(source: Path) -> ModuleType:
    try:
        from PIL import Image as pillow
    except ImportError as error:
        raise not_installed("an image file", "pillow", extra="host", where=str(source), error=error) from error
    return pillow
