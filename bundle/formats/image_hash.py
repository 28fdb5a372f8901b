"""The fingerprint of images, with or without labels: which files, in which order, with which bytes."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from bundle.formats.artifacts import hash_file
from bundle.tasks.dataset import FolderDataset


def hash_images(paths: Iterable[Path]) -> str:
    """Return one sha256 over each file's folder, name and bytes, in order; a missing file counts as empty."""
    digest = hashlib.sha256()
    for path in paths:
        content = hash_file(path) if path.is_file() else ""
        digest.update(f"{path.parent.name}/{path.name}\0{content}\n".encode())
    return digest.hexdigest()


def hash_labelled(dataset: FolderDataset, ids: Sequence[str], tasks: Iterable[str]) -> str:
    """Return one sha256 over the data set's spec, the size it is read at, and the image and label files of these ids."""
    names = tuple(tasks)
    labels = [dataset.label_path(name, identifier) for identifier in ids for name in names]
    files = hash_images([*(dataset.image_path(identifier) for identifier in ids), *labels])
    size = "" if dataset.size is None or dataset.spec.size_policy is None else f"{list(dataset.size)}\n"
    return hashlib.sha256(f"{size}{dataset.spec.model_dump_json()}\n{files}".encode()).hexdigest()
