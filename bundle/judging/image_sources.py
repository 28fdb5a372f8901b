"""Where the images of a run come from: the bundle's own, or a labelled folder instead of them.

The bundle's images carry the reference's answers. A folder's do not, and a device cannot make them: the reference is
the eager PyTorch model. Its per-image arrays come in a file that the host wrote (``tdss evaluate --arrays``). Without
them every verdict is inconclusive; an earlier run can still be compared with (bundle/judging/baseline.py), and fails a worse one.

    ids, tasks         unicode [N], [T]
    checkpoint         unicode [], the sha256 of the model.safetensors that was measured
    <task>.<figure>    float64 [N, …], the per-image arrays of every figure of bundle/tasks/metrics.py
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.array_files import read_member, read_names, read_rows
from bundle.base.errors import ArtifactError, DatasetError, InputError
from bundle.base.frozen import faults
from bundle.base.zip_entries import UNREADABLE
from bundle.formats.manifest import Bundle, Manifest
from bundle.formats.outputs import overwriting, zip_with
from bundle.formats.vectors import EvaluationSample, Vectors
from bundle.tasks.dataset import SPEC_FILE, FolderDataset, load_spec
from bundle.tasks.metrics import Metric

ARRAYS = zip_with("ids.npy", "tasks.npy", "checkpoint.npy")  # what arrays may be written over
Floats: TypeAlias = NDArray[np.float64]
References: TypeAlias = dict[str, dict[str, Floats]]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images to judge on. ``ids`` are those that count, in order; ``images`` yields one at a time, hard ones among them.

    ``references`` maps a task and a figure to the reference's arrays ``[N, …]``; a figure that is missing was not measured.
    ``hard`` is how many images there are besides ``ids``.
    """

    name: str
    ids: tuple[str, ...]
    images: Callable[[], Iterator[EvaluationSample]]
    references: References = field(default_factory=dict)
    hard: int = 0


def figures_of(manifest: Manifest) -> dict[str, tuple[Metric, ...]]:
    """Return the figures of each task of a bundle, the gated one first."""
    return {name: manifest.row(name).figures(channels) for name, channels in manifest.tasks.items()}


@contextmanager
def bundled(bundle: Bundle) -> Iterator[Source]:
    """Open the bundle's own images.

    Raises:
        ArtifactError: vectors.npz cannot be read, or names other tasks than the manifest.
    """
    with Vectors(bundle.vectors) as vectors:
        if vectors.tasks != tuple(bundle.manifest.tasks):
            raise _other_tasks(vectors.tasks, bundle.manifest, "vectors.npz")
        references: References = {name: {} for name in bundle.manifest.tasks}
        for name, figures in figures_of(bundle.manifest).items():
            for figure in figures:
                arrays = vectors.figure(name, figure)
                if arrays is not None:
                    references[name][figure.name] = arrays[vectors.counted]
            gated = vectors.gated(bundle.manifest.row(name), bundle.manifest.tasks[name])
            references[name][figures[0].name] = gated[vectors.counted]
        ids = tuple(name for name, counts in zip(vectors.ids, vectors.counted, strict=True) if counts)
        yield Source(
            name="the bundle's images",
            ids=ids,
            images=vectors.images,
            references=references,
            hard=len(vectors.ids) - len(ids),
        )


def labelled(manifest: Manifest, root: Path, split: str, reference: Path | None) -> Source:
    """Open a split of a labelled folder instead, with the reference's arrays from ``reference`` if there are any.

    Raises:
        DatasetError: the folder has no such split, or (while its images are read) one has another size.
        InputError: the arrays are of another checkpoint, other images or other tasks.
    """
    size = (manifest.preprocess.height, manifest.preprocess.width)
    data = FolderDataset(root=root, spec=manifest.dataset, size=size)
    _check_spec(root, manifest)
    ids = data.ids(split)
    references = {} if reference is None else read_arrays(reference, manifest, ids)
    return Source(
        name=f"{root.name}/{split}", ids=ids, images=lambda: _folder_images(data, ids, manifest), references=references
    )


def _check_spec(root: Path, manifest: Manifest) -> None:
    """Refuse a folder whose own spec, if it has one, gives its labels another meaning than the bundle's.

    A task that is judged by agreement has no labels that are read.
    """
    if not (root / SPEC_FILE).is_file():
        return
    own, ours = load_spec(root / SPEC_FILE), manifest.dataset
    read = [name for name in manifest.tasks if name not in manifest.agreement]
    meanings = [
        (spec.ignore_index, spec.depth_unit_m, spec.metrics_at, {name: spec.classes.get(name) for name in read})
        for spec in (own, ours)
    ]
    if meanings[0] != meanings[1]:
        raise DatasetError(
            "the labels of this folder mean something else than the bundle's",
            expected=f"ignore_index, depth_unit_m, metrics_at and classes {meanings[1]}",
            got=str(meanings[0]),
            where=str(root / SPEC_FILE),
            fix="give data of the bundle's classes and units",
        )


def _folder_images(data: FolderDataset, ids: tuple[str, ...], manifest: Manifest) -> Iterator[EvaluationSample]:
    size = (manifest.preprocess.height, manifest.preprocess.width)
    for identifier in ids:
        image = data.image(identifier)
        if image.shape[:2] != size:
            raise DatasetError(
                f"image {identifier!r} has another size than the model takes",
                expected=f"{list(size)} (rows, columns)",
                got=str(list(image.shape[:2])),
                where=str(data.root),
                fix="resize the images and labels of the split: the bundle was built without a size_policy",
            )
        asked = [name for name in manifest.tasks if name not in manifest.agreement]
        labels = {name: data.encoded_label(name, identifier) for name in asked}
        own = data.own_labels(asked, identifier)
        yield EvaluationSample(id=identifier, image=image, labels=labels, predictions={}, outputs={}, own_labels=own)


def write_arrays(
    path: Path, ids: tuple[str, ...], references: Mapping[str, Mapping[str, Floats]], checkpoint: str
) -> None:
    """Write the reference's per-image arrays of a split, for ``labelled``, atomically.

    Raises:
        InputError: something else than such arrays is at ``path``, or the system refuses to write.
    """
    arrays: dict[str, NDArray[np.generic]] = {
        "ids": np.array(ids),
        "tasks": np.array(list(references)),
        "checkpoint": np.array(checkpoint),
    }
    arrays |= {f"{name}.{figure}": array for name, rows in references.items() for figure, array in rows.items()}
    with overwriting(path, ARRAYS) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stub takes one bool keyword


def read_arrays(path: Path, manifest: Manifest, ids: tuple[str, ...]) -> References:
    """Read what ``write_arrays`` wrote, for the images ``ids`` and the bundle's tasks; the file may hold more of both.

    Raises:
        ArtifactError: the file cannot be read, or lacks a task or the figure that gates it.
        InputError: it is of another checkpoint, or lacks an image.
    """
    try:
        with zipfile.ZipFile(path) as kept:
            known = read_names(kept, "ids")
            tasks = read_names(kept, "tasks")
            _check_origin(path, manifest, ids, known, tasks, str(read_member(kept, "checkpoint")))
            arrays = _figures_in(kept, manifest, len(known))
    except (OSError, KeyError, *UNREADABLE) as error:
        raise ArtifactError(
            f"{path.name} cannot be read",
            expected="the arrays of bundle/judging/image_sources.py",
            got=faults(error),
            where=str(path),
            fix="write it again: tdss evaluate CHECKPOINT --data DIR --arrays FILE",
        ) from error
    rows = {name: row for row, name in enumerate(known)}
    order = [rows[name] for name in ids]
    return {name: {key: array[order] for key, array in figures.items()} for name, figures in arrays.items()}


def _check_origin(
    path: Path,
    manifest: Manifest,
    ids: tuple[str, ...],
    known: tuple[str, ...],
    tasks: tuple[str, ...],
    checkpoint: str,
) -> None:
    """Refuse arrays of other tasks, other images or another checkpoint."""
    if not set(manifest.tasks) <= set(tasks):
        raise _other_tasks(tasks, manifest, path.name)
    missing = sorted(set(ids) - set(known))
    if missing or checkpoint != manifest.reference.checkpoint_sha256:
        got = f"no image {missing[0]!r}" if missing else f"checkpoint {checkpoint[:16]}…"
        raise InputError(
            "the reference's arrays are of another checkpoint or other images",
            expected=f"checkpoint {manifest.reference.checkpoint_sha256[:16]}…, {len(ids)} images of the split",
            got=got,
            where=str(path),
            fix="write them for this checkpoint and split: tdss evaluate CHECKPOINT --data DIR --arrays FILE",
        )


def _figures_in(archive: zipfile.ZipFile, manifest: Manifest, count: int) -> References:
    """Read the figures of a bundle's tasks: the one that gates must be there, another one may have been left out."""
    there = {entry.removesuffix(".npy") for entry in archive.namelist()}
    rows = {name: figures for name, figures in figures_of(manifest).items() if name not in manifest.agreement}
    gated = [f"{name}.{figures[0].name}" for name, figures in rows.items()]
    if lacking := [key for key in gated if key not in there]:
        raise ArtifactError(
            f"the file holds no {lacking[0]}",
            expected="the figure that each task's verdict is about",
            got=", ".join(sorted(there)),
            where=str(archive.filename),
            fix="write it again: tdss evaluate CHECKPOINT --data DIR --arrays FILE",
        )
    return {
        name: {
            figure.name: read_rows(archive, key, (count, *figure.shape))
            for figure in figures
            if (key := f"{name}.{figure.name}") in there
        }
        for name, figures in figures_of(manifest).items()
    }


def _other_tasks(tasks: tuple[str, ...], manifest: Manifest, name: str) -> ArtifactError:
    return ArtifactError(
        f"{name} and manifest.json name different tasks",
        expected=str(list(manifest.tasks)),
        got=str(list(tasks)),
        where="the bundle",
        fix="build the bundle again, or give the arrays of its own checkpoint: tdss evaluate --arrays",
    )
