"""The benchmark end to end on tiny models: every row runs, a killed run goes on, a damaged row is measured again."""

from pathlib import Path

import pytest

from compile.comparison import measure as whole
from compile.comparison.contenders import WAYS
from compile.comparison.measure import Asked, measure
from compile.comparison.plan import Settings
from report.comparison import Comparison
from tests.compile import made

ROUNDS = 2
TINY = Settings((ROUNDS,) * 3, 12, 3, 2, "tiny", ((made.SIDE, (1, 7)),))


class Killed(BaseException):
    """What a kill is to the process that runs the benchmark."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def asked(work: Path, *only: str) -> Asked:
    return Asked(work / "tiny", work / "scenes", work / "out", only, 1, 0, True)


def run(work: Path, *only: str) -> tuple[Comparison, list[str]]:
    """Measure on the tiny checkpoint and data, and return what was said too."""
    said: list[str] = []
    if not (work / "scenes").exists():
        made.checkpoint(work / "tiny")
        made.scenes(work / "scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "QUICK", TINY)
        return measure(asked(work, *only), lambda found: None, said.append), said


def journals(work: Path) -> dict[str, Path]:
    return {path.stem: path for path in (work / "out" / "rounds").glob("*.jsonl")}


def test_every_way_runs_and_is_compared(work: Path) -> None:
    found, _ = run(work, "default", *(way.name for way in WAYS if way.name != "torch-compile"))
    rows = {row.name: row for row in found.rows}
    ran = {name: row for name, row in rows.items() if not row.reason}
    assert set(rows) == {way.name for way in WAYS} - {"torch-compile"}
    assert all("offers no bf16" in row.reason for name, row in rows.items() if name not in ran)
    assert {row.latency.runs for row in ran.values() if row.latency is not None} == {ROUNDS}
    assert all(row.latency is not None and row.peak_mib and len(row.sittings) == 1 for row in ran.values())
    for name in ("plain-f32", "plain-ort", "ours-f32"):
        assert all(abs(drop) < 1e-3 for drop in rows[name].drops.values()), name
    assert set(rows["singles"].drops) == set(made.TASKS) and not any(rows["eager"].drops.values())
    assert not any(row.drops for name, row in rows.items() if name.startswith("limit"))
    for name in ("singles", "nncf"):
        assert rows[name].computes == rows["plain"].computes
    assert rows["ours-int8"].bytes and rows["eager"].bytes
