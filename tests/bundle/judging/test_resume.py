"""The journal: exact, resumed from the last whole line, never read by another run."""

from pathlib import Path

import numpy as np
import pytest

from bundle.judging.evaluate_image import ImageResult
from bundle.judging.resume import FOLDER, Journal, run_key


def seen(seed: int, *, finite: bool = True) -> ImageResult:
    random = np.random.default_rng(seed)
    values = random.normal(size=(2, 3)) if finite else np.full((2, 3), np.nan)
    return ImageResult(
        figures={"miou": values, "other": random.random(4)},
        finite=finite,
        agreement=random.random(),
        change=float("nan"),
        full_change=random.random(),
        energies=random.random(4),
    )


def same(one: ImageResult, other: ImageResult) -> None:
    assert list(one.figures) == list(other.figures) and one.finite == other.finite
    for name, array in one.figures.items():
        np.testing.assert_array_equal(array, other.figures[name], strict=True)
    np.testing.assert_array_equal(one.energies, other.energies)
    np.testing.assert_array_equal(
        (one.agreement, one.change, one.full_change), (other.agreement, other.change, other.full_change)
    )


def filled(folder: Path, count: int, key: str = "a") -> dict[str, ImageResult]:
    journal, kept = Journal(folder, key), {}
    for number in range(count):
        kept[f"image-{number}"] = seen(number, finite=number != 1)
        journal.add(f"image-{number}", {"semseg": kept[f"image-{number}"]})
    return kept


def test_what_was_seen_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    kept = filled(tmp_path, 3)
    again = Journal(tmp_path, "a")
    assert list(again.seen) == list(kept)
    for name, one in kept.items():
        same(again.seen[name]["semseg"], one)


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_that_a_kill_tore_is_measured_again(tmp_path: Path, cut: int) -> None:
    kept = filled(tmp_path, 3)
    [path] = (tmp_path / FOLDER).iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    torn = Journal(tmp_path, "a")
    assert list(torn.seen) == ["image-0", "image-1"]
    torn.add("image-2", {"semseg": kept["image-2"]})
    assert path.read_bytes() == whole


def test_a_damaged_line_ends_what_is_believed(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    [path] = (tmp_path / FOLDER).iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "image-2" not in Journal(tmp_path, "a").seen


def test_another_run_does_not_read_it_and_removes_only_its_own(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    other = Journal(tmp_path, "b")
    assert other.seen == {}
    other.add("image-0", {"semseg": seen(0)})
    other.remove()
    assert len(Journal(tmp_path, "a").seen) == 2
    Journal(tmp_path, "a").remove()
    assert not (tmp_path / FOLDER).exists()
    Journal(tmp_path, "a").remove()


def test_the_key_is_made_of_every_fact() -> None:
    facts = {"seal": "1", "variant": "int8", "session": {"device": "CPU", "runtime": "1"}}
    assert run_key(**facts) == run_key(**facts)
    changed = [
        {**facts, "seal": "2"},
        {**facts, "variant": "f32"},
        {**facts, "session": {"device": "GPU", "runtime": "1"}},
    ]
    assert len({run_key(**facts), *(run_key(**one) for one in changed)}) == 4
