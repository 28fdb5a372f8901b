"""The benchmark end to end on tiny models: every row runs and is compared; a second run measures only what was damaged."""

from pathlib import Path

import pytest

from bundle.base.errors import ConfigError
from studies.comparison import measure as whole
from studies.comparison import rounds, run
from studies.comparison.contenders import WAYS, Way
from studies.comparison.measure import Asked, measure
from studies.comparison.plan import GROUPS, Settings, chosen, sized
from studies.comparison.process import Process, last_words
from studies.comparison.subject import Subject
from studies.comparison.tables import Comparison, Row, markdown
from studies.folding.graphs import write_checkpoint
from tests.compile import made

pytestmark = pytest.mark.slow

KEPT = ("semseg", "edge")
ROUNDS = 2
TINY = Settings((ROUNDS,) * 3, 12, 3, 2, "tiny", ((made.SIDE, (1, 7)),))
RAN = (
    "eager",
    "plain",
    "nncf",
    "ort-static",
    "singles",
    "ours-int8",
    "limit-int8",
)  # one of each kind; each row is two processes


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint of two tasks and its data."""
    folder = tmp_path_factory.mktemp("bench")
    made.scenes(folder / "scenes")
    tasks = {name: made.TASKS[name] for name in KEPT}
    write_checkpoint(folder / "tiny", made.CONFIG.model_copy(update={"tasks": tasks}))
    return folder


def bench(work: Path, *only: str) -> tuple[Comparison, list[str]]:
    """Measure, and return what was said too."""
    said: list[str] = []
    asked = Asked(work / "tiny", work / "scenes", work / "out", only, 1, 0, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "QUICK", TINY)
        return measure(asked, lambda found: None, said.append), said


@pytest.fixture(scope="module")
def first(work: Path) -> Comparison:
    """One row of each kind but ``torch.compile``, which takes a minute of C++ for the smallest model."""
    return bench(work, "default", *RAN)[0]


def by_name(found: Comparison) -> dict[str, Row]:
    return {row.name: row for row in found.rows}


def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the processes that are started from now on."""
    names: list[str] = []

    class Noted(Process):
        """A process that is written down."""

        def __init__(self, name: str, subject: Subject, folder: Path) -> None:
            names.append(name)
            super().__init__(name, subject, folder)

    for module in (rounds, run):
        monkeypatch.setattr(module, "Process", Noted)
    return names


def test_every_kind_of_row_runs_and_is_compared(first: Comparison) -> None:
    rows = by_name(first)
    assert set(rows) == set(RAN) and not any(row.reason for row in rows.values())
    for row in rows.values():
        assert row.latency is not None and row.latency.runs == ROUNDS and len(row.sittings) == 1, row.name
        assert row.name.startswith("limit") or set(row.drops) == set(KEPT)
    assert not rows["limit-int8"].drops and rows["limit-int8"].bytes is None
    assert not any(rows["eager"].drops.values()) and rows["singles"].drops == pytest.approx(
        rows["plain"].drops, abs=0.02
    )
    assert rows["nncf"].computes == rows["singles"].computes == rows["plain"].computes
    assert len({row.key for row in rows.values()}) == len(RAN)


def test_a_second_run_measures_only_what_was_damaged(
    work: Path, first: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, only = started(monkeypatch), ("default", "eager", "plain", "ours-int8")
    again, said = bench(work, *only)
    assert names == [] and not any("making" in line for line in said)
    assert by_name(again) == {name: row for name, row in by_name(first).items() if name in only}
    journal = work / "out" / "rounds" / f"{by_name(first)['plain'].key}.jsonl"
    journal.write_bytes(b"x" + journal.read_bytes())
    third, _ = bench(work, *only)
    assert names == ["tiny-plain"]
    rows = by_name(third)
    assert rows["plain"].sittings != rows["eager"].sittings and rows["eager"] == by_name(first)["eager"]
    assert "OpenVINO at its own precision † |" in markdown(third) and "not interleaved with them" in markdown(third)


def test_damaged_answers_are_given_again(work: Path, first: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    names = started(monkeypatch)
    [*files] = sorted((work / "out" / ".store" / run.ANSWERS).glob("*/answers.npz"))
    for path in files:
        path.write_bytes(path.read_bytes()[:-9])
    again, said = bench(work, "default", "ours-int8")
    assert names == ["tiny-eager", "tiny-ours-int8"]
    assert sum("made again" in line for line in said) == 2
    assert by_name(again)["ours-int8"].drops == by_name(first)["ours-int8"].drops


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "Traceback\n  File\nInductorError: InvalidCxxCompiler: No working C++ compiler found\nerror: a fault of this program, not\n",
            "InductorError: InvalidCxxCompiler: No working C++ compiler found",
        ),
        (
            "a note\nerror: ONNX Runtime refuses this graph\n  expected: one\n  got:      no node\n  fix:      none\n",
            "ONNX Runtime refuses this graph: no node",
        ),
        ("", "it said nothing"),
    ],
)
def test_why_a_process_ended_is_in_its_last_words(tmp_path: Path, said: str, reason: str) -> None:
    (tmp_path / "said").write_text(said)
    assert last_words(tmp_path / "said") == reason


@pytest.mark.slow
def test_models_without_labels_have_a_signal_to_noise_ratio_and_more_tasks_a_row_each(work: Path) -> None:
    found, _ = bench(work, "swin-t", "scaling", "plain", "ours-int8")
    [swin, _], scaling = found.group("swin-t"), found.group("scaling")
    assert set(swin.sqnr_db) == set(made.TASKS) and min(swin.sqnr_db.values()) > 15 and not swin.drops
    assert [row.model for row in scaling] == ["32, 1 task", "32, 7 tasks"]
    assert all(row.latency is not None and not row.sqnr_db for row in scaling)
    assert "| ms (÷ first) | 32, 1 task | 32, 7 tasks |" in markdown(found)


def test_a_name_is_a_group_or_a_row() -> None:
    assert chosen(()) == (tuple(GROUPS), WAYS)
    groups, ways = chosen(("nncf", "swin-t", "eager"))
    assert groups == ("swin-t",) and [way.name for way in ways] == ["eager", "nncf"]
    with pytest.raises(ConfigError, match="no such group or row"):
        chosen(("ncnf",))


def test_more_tasks_than_there_are_repeat_them_by_other_names() -> None:
    config = sized(made.CONFIG, 64, 8)
    assert list(config.tasks)[:6] == list(made.TASKS) and len(config.tasks) == 8
    assert list(config.tasks.values())[6:] == list(made.TASKS.values())[:2] and config.image.height == 64
    assert list(sized(made.CONFIG, 64, 2).tasks) == list(made.TASKS)[:2]


def test_every_row_has_a_maker_and_a_name_of_its_own() -> None:
    from studies.comparison.contenders import CHECKPOINT
    from studies.comparison.makers import OURS, WRITERS

    assert len({way.name for way in WAYS}) == len({way.label for way in WAYS}) == len(WAYS)
    assert {way.kind for way in WAYS} == {CHECKPOINT, OURS, *WRITERS} and all(isinstance(way, Way) for way in WAYS)
