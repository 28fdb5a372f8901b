"""Which images are hard: the rarest classes first, then the reference's worst."""

import numpy as np

from compile.evaluation.hard_examples import Case, choose_hard, class_shares
from tests.compile.made import SPEC

TASKS = {"semseg": 3, "depth": 1}


def case(name: str, shares: list[float], error_m: float) -> Case:
    """One candidate: class shares of semseg, and arrays whose score is right for semseg and ``error_m`` for depth."""
    hits = np.ones((3, 3))
    return Case(name, {"semseg": np.array(shares)}, {"semseg": hits, "depth": np.array([error_m**2 * 100, 100.0])})


CASES = [
    case("common", [0.5, 0.5, 0.0], 0.1),
    case("a little of it", [0.5, 0.48, 0.02], 0.2),
    case("most of it", [0.2, 0.1, 0.7], 0.3),
    case("the worst", [0.5, 0.5, 0.0], 0.9),
]


def test_half_are_rare_and_the_rest_the_worst() -> None:
    found = choose_hard(CASES, 2, TASKS, SPEC)
    assert list(found) == ["most of it", "the worst"]
    assert found["most of it"] == f"rare: {SPEC.classes['semseg'][2]} of semseg, in 2 of 4 candidates"
    assert found["the worst"].startswith("worst: mean rank 0.")


def test_no_image_is_taken_twice_and_no_more_than_there_are() -> None:
    found = choose_hard(CASES, 10, TASKS, SPEC)
    assert len(found) == len(CASES) and found["most of it"].startswith("rare")


def test_none_are_asked_for_or_there_is_none() -> None:
    assert choose_hard(CASES, 0, TASKS, SPEC) == {} == choose_hard([], 4, TASKS, SPEC)
    assert list(choose_hard(CASES[:1], 1, TASKS, SPEC)) == ["common"]


def test_pixels_without_a_class_count_for_none() -> None:
    label = np.array([[0, 0, 1, 255]], dtype=np.uint8)
    assert class_shares(label, 3).tolist() == [0.5, 0.25, 0.0]
