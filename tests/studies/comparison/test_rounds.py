"""Rows take turns round by round; a killed run goes on, a finished row is not started, a damaged one is measured again."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from onnx import TensorProto, helper, save
from PIL import Image

from compile.stage.config import TimingConfig
from studies.comparison import rounds
from studies.comparison.rounds import Waiting, take_rounds
from studies.comparison.row_log import End, RowLog, Turn, row_key
from studies.comparison.subject import Subject
from tests.compile import made

TIMING = TimingConfig(runs=3, warmup=1, burst=2)


class Killed(BaseException):
    """What a kill is to the process that measures."""


def subject(folder: Path, name: str = "twice") -> Subject:
    """A graph that doubles an image, and an image."""
    folder.mkdir(parents=True, exist_ok=True)
    value = {"x": "image", "y": "depth"}
    infos = [
        helper.make_tensor_value_info(one, TensorProto.FLOAT, [1, 3, made.SIDE, made.SIDE]) for one in value.values()
    ]
    node = helper.make_node("Add", ["image", "image"], ["depth"])
    graph = helper.make_graph([node], name, infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    save(model, folder / f"{name}.onnx")
    Image.fromarray(made.image(0)).save(folder / "image.png")
    info = made.INFO["raw"].model_copy(update={"tasks": {"depth": 1}})
    return Subject(
        runner="onnxruntime",
        files=(folder / f"{name}.onnx",),
        hint="f32",
        info=info,
        image=folder / "image.png",
        threads=1,
    )


class Scripted:
    """A process that takes as many milliseconds as orders were given before, and writes down who was asked what."""

    orders: list[str]

    def __init__(self, name: str, subject: Subject, folder: Path) -> None:
        self.name, self.computes = name, "f32"
        self.orders.append(f"{name} open")

    def __enter__(self) -> "Scripted":
        return self

    def __exit__(self, *given: object) -> None:
        self.orders.append(f"{self.name} gone")

    def warm(self, calls: int) -> None:
        self.orders.append(f"{self.name} warm {calls}")

    def turn(self, burst: int) -> float:
        self.orders.append(f"{self.name} turn {burst}")
        return float(len(self.orders))

    def end(self) -> float:
        self.orders.append(f"{self.name} end")
        return 1.0


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(rounds, "Process", Scripted)
    Scripted.orders = []
    return Scripted.orders


def rows(folder: Path, *names: str) -> dict[str, Waiting]:
    """Rows as a run of the command finds them."""
    return {name: Waiting(subject(folder), RowLog(folder / f"{name}.jsonl")) for name in names}


def take(waiting: Mapping[str, Waiting], folder: Path) -> dict[str, str]:
    return take_rounds(waiting, TIMING, folder, made.quiet)


def test_every_row_has_its_turn_in_every_round(tmp_path: Path, orders: list[str]) -> None:
    assert take(rows(tmp_path, "a", "b"), tmp_path) == {}
    assert orders[:4] == ["a open", "a warm 1", "b open", "b warm 1"]
    assert orders[4:10] == ["a turn 2", "b turn 2"] * 3 and orders[10:12] == ["a end", "b end"]
    again = rows(tmp_path, "a", "b")
    assert [len(row.kept.turns) for row in again.values()] == [3, 3] and all(
        row.kept.finished(3) for row in again.values()
    )
    assert [one.ms for one in again["a"].kept.turns] == [5.0, 7.0, 9.0]


def test_a_finished_row_is_not_started_again(tmp_path: Path, orders: list[str]) -> None:
    take(rows(tmp_path, "a", "b"), tmp_path)
    (tmp_path / "b.jsonl").unlink()
    orders.clear()
    take(rows(tmp_path, "a", "b"), tmp_path)
    assert {one.split()[0] for one in orders} == {"b"} and orders.count("b turn 2") == 3


def test_a_killed_run_goes_on_where_it_stopped(
    tmp_path: Path, orders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add, written = RowLog.add, list[Turn | End]()

    def add_three(kept: RowLog, line: Turn | End) -> None:
        if len(written) == 3:
            raise Killed
        written.append(line)
        add(kept, line)

    monkeypatch.setattr(RowLog, "add", add_three)
    with pytest.raises(Killed):
        take(rows(tmp_path, "a", "b"), tmp_path)
    monkeypatch.setattr(RowLog, "add", add)
    first = {name: row.kept.turns for name, row in rows(tmp_path, "a", "b").items()}
    assert [len(turns) for turns in first.values()] == [2, 1]
    orders.clear()
    take(rows(tmp_path, "a", "b"), tmp_path)
    assert [one for one in orders if "turn" in one] == ["b turn 2", "a turn 2", "b turn 2"]
    after = rows(tmp_path, "a", "b")
    assert all(
        row.kept.finished(3) and row.kept.turns[: len(first[name])] == first[name] for name, row in after.items()
    )


@pytest.mark.parametrize("line", [0, 1, 3])
def test_what_is_damaged_is_measured_again(tmp_path: Path, orders: list[str], line: int) -> None:
    take(rows(tmp_path, "a", "b"), tmp_path)
    path, whole = tmp_path / "a.jsonl", (tmp_path / "b.jsonl").read_bytes()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"sitting"', b'"sittimg"')
    path.write_bytes(b"".join(lines))
    orders.clear()
    take(rows(tmp_path, "a", "b"), tmp_path)
    assert orders.count("a turn 2") == 3 - line and orders.count("a end") == 1 and "b open" not in orders
    assert rows(tmp_path, "a")["a"].kept.finished(3) and (tmp_path / "b.jsonl").read_bytes() == whole


def test_what_was_cut_is_measured_again(tmp_path: Path, orders: list[str]) -> None:
    take(rows(tmp_path, "a"), tmp_path)
    path = tmp_path / "a.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    orders.clear()
    take(rows(tmp_path, "a"), tmp_path)
    assert orders == ["a open", "a warm 1", "a end", "a gone"]


def test_real_processes_run_and_one_that_cannot_says_why(tmp_path: Path) -> None:
    good = subject(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    broken = good.model_copy(update={"files": (tmp_path / "broken.onnx",)})
    waiting = {
        "good": Waiting(good, RowLog(tmp_path / "good.jsonl")),
        "broken": Waiting(broken, RowLog(tmp_path / "broken.jsonl")),
    }
    failed = take(waiting, tmp_path)
    assert list(failed) == ["broken"] and failed["broken"].startswith("ONNX Runtime refuses this graph: ")
    end = RowLog(tmp_path / "good.jsonl").end
    assert waiting["good"].kept.finished(3) and end is not None and end.computes == "f32"
    assert end.peak_mib is None or end.peak_mib > 10


def test_the_key_names_what_runs_and_on_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = subject(tmp_path / "one")
    key = row_key(one, TIMING)
    assert row_key(subject(tmp_path / "two"), TIMING) == key  # the same files elsewhere
    others = [
        row_key(subject(tmp_path / "one", "other"), TIMING),
        row_key(one.model_copy(update={"hint": "bf16"}), TIMING),
        row_key(one.model_copy(update={"threads": 2}), TIMING),
        row_key(one, TIMING.model_copy(update={"burst": 5})),
    ]
    monkeypatch.setattr("studies.comparison.row_log.read_cpuinfo", lambda: "flags : avx2")
    assert len({key, *others, row_key(one, TIMING)}) == 6
    assert row_key(one, TIMING.model_copy(update={"runs": 99})) == row_key(one, TIMING)
