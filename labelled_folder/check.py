"""Every problem of every file of a labelled folder, in one run: each file is read by what a build reads it with.

One image and its labels are in memory at a time. Of each image the hash of its pixels is kept.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen
from bundle.tasks.dataset import (
    SPEC_FILE,
    FolderDataset,
    Image,
    check_encoded,
    find_image,
    id_faults,
    is_id,
    load_spec,
    output_channels,
    read_image,
    read_lines,
)
from bundle.tasks.fit import boxes
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import SizePolicy
from bundle.tasks.table import Task, task, tasks_among
from labelled_folder.compare import compare_labels, compare_sizes, compare_splits, find_unused
from labelled_folder.findings import Findings, FolderReport, Splits
from labelled_folder.tally import Tally, count_splits

Track: TypeAlias = Callable[[Iterable[str]], Iterable[str]]
TRAIN = "train"


class Use(Frozen):
    """What a folder is for: the splits of a build, its tasks (none: those with a folder), and the size that its model takes."""

    evaluation: str = "val"
    calibration: str = "calibration"
    tasks: tuple[str, ...] = ()
    size: Preprocess | None = None


class _Labels(NamedTuple):
    """How labels are read: by whom, for which tasks with how many channels, and where they are counted."""

    data: FolderDataset
    tasks: Mapping[str, int]
    tallies: Mapping[tuple[str, str], Tally]


def check_folder(root: Path, spec: Path | None, use: Use, track: Track) -> FolderReport:
    """Read every image and label of a labelled folder and return all that is wrong with them.

    ``spec`` None is the folder's own. ``track`` passes the ids on, and may show how many are done.

    Raises:
        ConfigError: a task is unknown.
        DatasetError: there is no such folder.
        TargetUnavailable: Pillow is not installed.
    """
    rows = [task(name) for name in use.tasks] or tasks_among(path.name for path in root.glob("*") if path.is_dir())
    if not root.is_dir():
        raise _no_folder(root)
    findings = Findings()
    splits = _splits(root, use, findings)
    bare = spec is None and not rows and not (root / SPEC_FILE).exists()
    labels = None if bare else _labels(root, spec or root / SPEC_FILE, rows, splits, findings)
    policy = None if labels is None else labels.data.spec.size_policy
    sizes: dict[str, tuple[int, int]] = {}
    same: defaultdict[str, list[str]] = defaultdict(list)
    members: defaultdict[str, list[str]] = defaultdict(list)
    for split, ids in splits.items():
        for identifier in ids:
            members[identifier].append(split)
    for identifier in track(list(members)):
        image = findings.result(_image, root, identifier, use.size, policy, sizes)
        if image is not None:
            same[hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()].append(identifier)
        if labels is not None:
            _read_labels(labels, identifier, members[identifier], use.evaluation, identifier in sizes, findings)
    compare_splits(splits, use.evaluation, list(same.values()), findings, root)
    if use.size is None and policy is None:
        compare_sizes(sizes, findings, root)
    if labels is not None:
        compare_labels(labels.tallies, use.evaluation, findings, root)
    if bare:
        findings.add("warning", _bare(root))
    find_unused(root, splits, findings)
    return FolderReport(
        folder=str(root),
        splits=count_splits(splits, {} if labels is None else labels.tallies),
        sizes=_histogram(sizes),
        findings=tuple(findings.all),
    )


def _splits(root: Path, use: Use, findings: Findings) -> Splits:
    """Read the splits of a build, and the one of a training if it is there; an id that is none is a finding."""
    names = dict.fromkeys((use.calibration, use.evaluation, *([TRAIN] if (root / f"{TRAIN}.txt").is_file() else [])))
    splits = {}
    for name in names:
        path = root / f"{name}.txt"
        lines = findings.result(read_lines, path) or ()
        for error in id_faults(lines, where=str(path)):
            findings.add("error", error)
        splits[name] = tuple(dict.fromkeys(line for line in lines if is_id(line)))
    return splits


def _labels(root: Path, spec_path: Path, rows: list[Task], splits: Splits, findings: Findings) -> _Labels | None:
    """Prepare to read labels; None if there is no spec that says what they mean."""
    spec = findings.result(load_spec, spec_path)
    if spec is None:
        return None
    channels = {row.name: findings.result(output_channels, row, spec) for row in rows}
    tasks = {name: count for name, count in channels.items() if count is not None}
    tallies = {
        (split, row.name): Tally(row, tasks[row.name], spec) for split in splits for row in rows if row.name in tasks
    }
    return _Labels(FolderDataset(root=root, spec=spec), tasks, tallies)


def _image(
    root: Path, identifier: str, size: Preprocess | None, policy: SizePolicy | None, sizes: dict[str, tuple[int, int]]
) -> Image:
    """Read an image and keep its size.

    Raises:
        DatasetError: it is missing, unreadable, or cannot have the size that the model takes.
    """
    path = find_image(root, identifier)
    image = read_image(path)
    own = sizes[identifier] = (image.shape[0], image.shape[1])
    if size is not None and policy is not None:
        boxes(own, (size.height, size.width), policy, where=str(path))
    return image if size is None or policy is not None else size.check(image, name=str(path))


def _read_labels(
    labels: _Labels, identifier: str, splits: list[str], evaluation: str, has_image: bool, findings: Findings
) -> None:
    """Read the labels of one image and count them in its splits; one that is missing is an error where it is judged on."""
    data = labels.data
    for name in labels.tasks:
        tallies = [labels.tallies[split, name] for split in splits]
        path = findings.result(data.label_path, name, identifier)
        if path is None:
            continue
        if not path.is_file():
            for tally in tallies:
                tally.missing += 1
            if evaluation not in splits:
                continue
        encoded = findings.result(data.stored_label, name, identifier)
        if encoded is None:
            continue
        valid = findings.passes(check_encoded, name, encoded, data.spec, where=str(path))
        fits = has_image and findings.passes(data.check_label_size, name, identifier, encoded)
        for tally in tallies if valid and fits else ():
            tally.add(encoded)


def _histogram(sizes: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    found = list(sizes.values())
    return {f"{height}×{width}": found.count((height, width)) for height, width in sorted(set(found))}


def _bare(root: Path) -> DatasetError:
    return DatasetError(
        "there are neither labels nor a spec",
        expected=f"{SPEC_FILE} and a folder for each task of a checkpoint",
        got="images and splits",
        where=str(root),
        fix="add them; or build a network of another origin, which is judged by agreement without them",
    )


def _no_folder(root: Path) -> DatasetError:
    return DatasetError(
        "there is no such folder",
        expected="a labelled folder",
        got="nothing" if not root.exists() else "a file",
        where=str(root),
        fix="correct the path",
    )
