"""Where the images of a run come from: the bundle's own, or a whole labelled folder instead of them.

The bundle's images carry the reference's answers. A folder's do not, and a device cannot make them, for the reference
is the eager PyTorch model: its per-image arrays come in a file that the host wrote (``tdss evaluate --arrays``). Without
them every verdict is inconclusive; an earlier run can still be compared with (bundle/baseline.py), and fails a worse one.

    ids, tasks         unicode [N], [T]
    checkpoint         unicode [], the sha256 of the model.safetensors that was measured
    <task>.<figure>    float64 [N, …], the per-image arrays of every figure of bundle/metrics.py
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.dataset import FolderDataset
from bundle.errors import ArtifactError, DatasetError, InputError
from bundle.manifest import Bundle, Manifest
from bundle.metrics import Measure, measures
from bundle.outputs import overwriting, zip_with
from bundle.tasks import task
from bundle.vectors import Stored, Vectors
from bundle.zipped import UNREADABLE

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
    images: Callable[[], Iterator[Stored]]
    references: References = field(default_factory=dict)
    hard: int = 0


def figures_of(manifest: Manifest) -> dict[str, tuple[Measure, ...]]:
    """Return the figures of each task of a bundle, the gated one first."""
    return {name: measures(task(name), channels) for name, channels in manifest.tasks.items()}


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
            references[name][figures[0].name] = vectors.metric(name)[vectors.counted]
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
    data = FolderDataset(root=root, spec=manifest.dataset)
    ids = data.ids(split)
    references = {} if reference is None else read_arrays(reference, manifest, ids)
    return Source(
        name=f"{root.name}/{split}", ids=ids, images=lambda: _folder_images(data, ids, manifest), references=references
    )


def _folder_images(data: FolderDataset, ids: tuple[str, ...], manifest: Manifest) -> Iterator[Stored]:
    size = (manifest.preprocess.height, manifest.preprocess.width)
    for identifier in ids:
        image = data.image(identifier)
        if image.shape[:2] != size:
            raise DatasetError(
                f"image {identifier!r} has another size than the model takes", expected=f"{list(size)} (rows, columns)",
                got=str(list(image.shape[:2])), where=str(data.root),
                fix="resize the images and labels of the split: the graph's shapes are static",
            )  # fmt: skip
        labels = {name: data.encoded_label(name, identifier) for name in manifest.tasks}
        yield Stored(id=identifier, image=image, labels=labels, predictions={}, outputs={})


def write_arrays(
    path: Path, ids: tuple[str, ...], references: Mapping[str, Mapping[str, Floats]], checkpoint: str
) -> None:
    """Write the reference's per-image arrays of a split, for ``labelled``, atomically.

    Raises:
        InputError: something else than such arrays is at ``path``, or the system refuses to write.
    """
    arrays: dict[str, NDArray[np.generic]] = {
        "ids": np.array(ids), "tasks": np.array(list(references)), "checkpoint": np.array(checkpoint)
    }  # fmt: skip
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
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        tasks = tuple(str(name) for name in arrays["tasks"])
        rows = {str(name): row for row, name in enumerate(arrays["ids"])}
        checkpoint = str(arrays["checkpoint"])
    except (OSError, KeyError, TypeError, *UNREADABLE) as error:
        raise ArtifactError(
            f"{path.name} cannot be read", expected="the arrays of bundle/sources.py", got=f"{type(error).__name__}: {error}",
            where=str(path), fix="write it again: tdss evaluate CHECKPOINT --data DIR --arrays FILE",
        ) from error  # fmt: skip
    if not set(manifest.tasks) <= set(tasks):
        raise _other_tasks(tasks, manifest, path.name)
    missing = [name for name in ids if name not in rows]
    if missing or checkpoint != manifest.reference.checkpoint_sha256:
        got = f"no image {missing[0]!r}" if missing else f"checkpoint {checkpoint[:16]}…"
        raise InputError(
            "the reference's arrays are of another checkpoint or other images",
            expected=f"checkpoint {manifest.reference.checkpoint_sha256[:16]}…, {len(ids)} images of the split", got=got,
            where=str(path), fix="write them for this checkpoint and split: tdss evaluate CHECKPOINT --data DIR --arrays FILE",
        )  # fmt: skip
    lacking = [
        key for name, (gated, *_) in figures_of(manifest).items() if (key := f"{name}.{gated.name}") not in arrays
    ]
    if lacking:
        raise ArtifactError(
            f"{path.name} holds no {lacking[0]}", expected="the figure of every task that gates", got=", ".join(arrays),
            where=str(path), fix="write it again: tdss evaluate CHECKPOINT --data DIR --arrays FILE",
        )  # fmt: skip
    order = [rows[name] for name in ids]
    return {
        name: {
            figure.name: arrays[key][order] for figure in figures if (key := f"{name}.{figure.name}") in arrays
        }
        for name, figures in figures_of(manifest).items()
    }  # fmt: skip


def _other_tasks(tasks: tuple[str, ...], manifest: Manifest, name: str) -> ArtifactError:
    return ArtifactError(
        f"{name} and manifest.json name different tasks", expected=str(list(manifest.tasks)), got=str(list(tasks)),
        where="the bundle", fix="build the bundle again, or give the arrays of its own checkpoint: tdss evaluate --arrays",
    )  # fmt: skip
