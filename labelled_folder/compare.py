"""What is wrong with a labelled folder as a set: splits that share images, sizes, labels that are few or look wrong, unused files."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from bundle.base.errors import DatasetError
from bundle.judging.verdict import MINIMUM_IMAGES
from bundle.tasks.dataset import SPEC_FILE
from bundle.tasks.table import TASKS, find_task
from labelled_folder.findings import Findings, Splits
from labelled_folder.tally import Tally

IMAGES = "image"


def compare_splits(splits: Splits, evaluation: str, same: list[list[str]], findings: Findings, root: Path) -> None:
    """Find ids, and pictures under two ids, that the split which judges shares with another; ``same`` are ids of equal pixels."""
    for first, second in combinations(splits, 2):
        both = sorted(set(splits[first]) & set(splits[second]))
        if both and evaluation in (first, second):
            findings.add("error", _shared(f"the splits {first} and {second} share images", both, root))
    judged = set(splits[evaluation])
    for group in same:
        if len(group) > 1:
            inside = judged & set(group)
            mixed = inside and inside != set(group)
            findings.add(
                "error" if mixed else "warning",
                _shared(f"{len(group)} images hold the same pixels", group, root / IMAGES),
            )


def _shared(message: str, ids: list[str], where: Path) -> DatasetError:
    return DatasetError(
        message,
        expected="a verdict on images that nothing else has seen",
        got=", ".join(ids),
        where=str(where),
        fix="take them out of one split",
    )


def compare_sizes(sizes: Mapping[str, tuple[int, int]], findings: Findings, root: Path) -> None:
    """Find more than one size."""
    if len(set(sizes.values())) > 1:
        error = DatasetError(
            "the images have different sizes",
            expected="the size of the model, of each image and label",
            got=f"{len(set(sizes.values()))} sizes",
            where=str(root / IMAGES),
            fix=f"declare a size_policy in {SPEC_FILE}, or resize images and labels; --size H W names each that has another",
        )
        findings.add("error", error)


def compare_labels(tallies: Mapping[tuple[str, str], Tally], evaluation: str, findings: Findings, root: Path) -> None:
    """Find labels that are too few or missing, values that no label has, and units and axes that look wrong."""
    for (split, name), tally in tallies.items():
        where, of = str(root / name), f"of {split}"
        for doubt in tally.doubts():
            findings.warn(
                doubt,
                expected="the encoding of docs/guides/your-data.md",
                got=f"the labels {of}",
                where=where,
                fix=_LOOK,
            )
        if tally.missing and split != evaluation:
            findings.warn(
                f"{tally.missing} images {of} have no {name} label",
                expected="a label for each: the search for mixed precision and a training use them",
                got=f"{tally.usable} labels",
                where=where,
                fix="add them, or do without that search",
            )
        if split == evaluation:
            _too_few(name, tally, findings, where)


def _too_few(name: str, tally: Tally, findings: Findings, where: str) -> None:
    if tally.counted < MINIMUM_IMAGES:
        findings.warn(
            f"{tally.counted} images count for {name}, so its verdict is inconclusive",
            expected=f"at least {MINIMUM_IMAGES}",
            got=str(tally.counted),
            where=where,
            fix="label more images, or leave the task out",
        )
    if unseen := tally.unseen():
        findings.warn(
            f"no {name} label has {', '.join(unseen)}",
            expected="each value in some label, or its metric says nothing about it",
            got=f"{len(tally.names) - len(unseen)} of {len(tally.names)} values",
            where=where,
            fix=f"look whether the labels number their classes as {SPEC_FILE} does",
        )


_LOOK = (
    "look at the labels, and correct them or dataset.json; nothing is wrong if the model was trained on the same ones"
)


def find_unused(root: Path, splits: Splits, findings: Findings) -> None:
    """Find folders that are no task, and images and labels whose id is in no split."""
    known = {name for ids in splits.values() for name in ids}
    tasks = [row.name for row in TASKS]
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != "."):
        if folder.name != IMAGES and find_task(folder.name) is None:
            findings.warn(
                f"the folder {folder.name} is not read",
                expected=f"{IMAGES}, {', '.join(tasks)}",
                got=folder.name,
                where=str(folder),
                fix="rename it if it holds the labels of a task",
            )
            continue
        unused = sorted(path.name for path in folder.iterdir() if path.stem not in known)
        if unused:
            findings.warn(
                f"{len(unused)} files of {folder.name} belong to no split",
                expected="an id of a split and a suffix",
                got=", ".join(unused),
                where=str(folder),
                fix="add their ids to a split, or ignore them",
            )
