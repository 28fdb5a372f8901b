"""Parts of a stage: made once, in this process or by workers, and equal whoever made them."""

import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import pytest

from bundle.base.errors import DatasetError, InputError
from bundle.formats.artifacts import hash_file
from compile.stage.parts import Measure, Spread, Work, make_parts, of_part, shared_out, span, spans
from compile.stage.store import Kept, StageKey

KILLED = "killed"


class Squares(Work):
    """The squares of the numbers in a file; ``at`` is where a worker fails, and how."""

    numbers: Path
    at: int = -1
    how: str = "error"
    pause: float = 0.0  # seconds before each part

    def keys(self, parts: Sequence[str]) -> dict[str, StageKey]:
        whole = StageKey(stage="squares", inputs=tuple(self.files.values()), settings={}, code="", tools={})
        return {part: of_part(whole, part) for part in parts}

    @contextmanager
    def open(self) -> Iterator[Measure]:
        numbers = self.numbers.read_text().split()
        opened = self.numbers.with_name("opened")
        opened.write_text(opened.read_text() + "." if opened.exists() else ".")

        def measure(part: str, out: Path) -> None:
            sleep(self.pause)
            if self.at in span(part):
                self._fail()
            (out / "squares").write_text(" ".join(str(int(numbers[index]) ** 2) for index in span(part)))

        yield measure

    def _fail(self) -> None:
        if self.how == "error":
            raise DatasetError("a number is wrong", expected="one", got="two", where="here", fix="correct it")
        killed = self.numbers.with_name(KILLED)
        if not killed.exists():
            killed.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def work(tmp_path: Path) -> Squares:
    """Nine numbers."""
    path = tmp_path / "numbers"
    path.write_text("1 2 3 4 5 6 7 8 9")
    return Squares(files={str(path): hash_file(path)}, numbers=path)


PARTS = spans(9, 2)


def squares(parts: list[Kept]) -> str:
    """What the parts hold, one behind the other."""
    return " ".join(part.file("squares").read_text() for part in parts)


ALL = " ".join(str(number * number) for number in range(1, 10))


def test_parts_have_each_item_once_in_order() -> None:
    assert PARTS == ("0:2", "2:4", "4:6", "6:8", "8:9") and spans(0, 8) == ()
    assert [index for part in PARTS for index in span(part)] == list(range(9))
    items = [(part, "") for part in PARTS]
    for count in range(1, 8):
        shares = list(shared_out(items, count))
        assert [item for share in shares for item in share] == items and len(shares) == min(count, len(items))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_parts_are_made_once_and_what_they_need_is_opened_with_the_first(work: Squares, tmp_path: Path) -> None:
    told: list[int] = []
    spread, opened = Spread(tmp_path / "store"), tmp_path / "opened"
    assert squares(spread.run(work, PARTS[:2])) == "1 4 9 16"
    assert squares(spread.run(work, PARTS, done=told.append)) == ALL
    assert told == [3, 4, 5] and opened.read_text() == ".."
    assert squares(spread.run(work, PARTS)) == ALL and opened.read_text() == ".."


def test_a_damaged_part_is_made_again(work: Squares, tmp_path: Path) -> None:
    spread = Spread(tmp_path / "store")
    [first, *_] = spread.run(work, PARTS)
    first.file("squares").write_text("0 0")
    assert squares(spread.run(work, PARTS)) == ALL


def test_what_was_made_before_an_error_stays(work: Squares, tmp_path: Path) -> None:
    spread = Spread(tmp_path / "store")
    with pytest.raises(DatasetError, match="a number is wrong"):
        spread.run(work.model_copy(update={"at": 5}), PARTS)
    assert len([*(tmp_path / "store" / "squares").glob("[!.]*/")]) == 2
    assert squares(spread.run(work, PARTS)) == ALL


def test_another_file_than_the_build_made_is_refused(work: Squares, tmp_path: Path) -> None:
    work.numbers.write_text("1 2 3")
    with pytest.raises(InputError, match="a file is not what the build made") as caught:
        Spread(tmp_path / "store").run(work, PARTS)
    assert caught.value.where == str(work.numbers) and caught.value.got == hash_file(work.numbers)


def test_a_worker_with_other_data_refuses_the_part(work: Squares, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="other data, code or packages") as caught:
        make_parts(work, {"0:2": "0" * 24}, tmp_path / "store", work.open, print)
    assert caught.value.exit_code == 2 and not (tmp_path / "store").exists()


def test_an_error_is_the_same_in_another_process() -> None:
    error = DatasetError("a number is wrong", expected="one", got="two", where="here", fix="correct it")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # what Dask does
    assert type(again) is DatasetError and str(again) == str(error) and again.fix == "correct it"


@pytest.mark.slow
def test_workers_make_the_same_parts_whoever_is_killed_and_say_what_is_wrong(work: Squares, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    here = Spread(tmp_path / "here").run(work, PARTS)
    told: list[int] = []
    with Spread(tmp_path / "there", workers=2) as spread:
        there = spread.run(work.model_copy(update={"at": 5, "how": KILLED}), PARTS, done=told.append)
        assert (tmp_path / KILLED).exists() and told[-1] == len(PARTS) and told == sorted(told)
        assert [one.record for one in there] == [one.record for one in here] and squares(there) == ALL
        assert [one.folder.name for one in there] == [one.folder.name for one in here]
        other = work.numbers.with_name("other")
        other.write_text("2 3 4")
        wrong = work.model_copy(update={"files": {str(other): hash_file(other)}, "numbers": other, "at": 1})
        with pytest.raises(DatasetError, match="a number is wrong") as caught:
            spread.run(wrong, spans(3, 1))
        assert caught.value.fix == "correct it"


@pytest.mark.slow
def test_workers_that_wait_make_parts_ahead_until_nobody_wants_them(work: Squares, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    told: list[int] = []
    with Spread(tmp_path / "store", workers=2) as spread:
        with spread.ahead(work, PARTS):
            assert squares(spread.run(work, PARTS, done=told.append)) == ALL and told[-1] == len(PARTS)
        other = work.model_copy(update={"numbers": work.numbers.with_name("others"), "pause": 0.5})
        other.numbers.write_text(" ".join(map(str, range(40))))
        other = other.model_copy(update={"files": {str(other.numbers): hash_file(other.numbers)}})
        with spread.ahead(other, spans(40, 1)):
            sleep(1)
        made = {*(tmp_path / "store" / "squares").glob("[!.]*/")}
        sleep(2)
        assert len(PARTS) < len(made) < 40 and {*(tmp_path / "store" / "squares").glob("[!.]*/")} == made
        assert len(spread.run(other.model_copy(update={"pause": 0.0}), spans(40, 1))) == 40
