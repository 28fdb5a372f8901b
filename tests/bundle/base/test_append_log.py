"""An append-only log: every entry comes back, and nothing behind damage is believed."""

import json
from pathlib import Path

import pytest

from bundle.base.append_log import AppendLog

ENTRIES = ['{"step": 1, "name": "é\\n"}', '{"step":2,"sha256":"inner"}', '{"step": 3, "nested": {"a": [1.5, null]}}']


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = AppendLog(tmp_path / "folder" / "log.jsonl")
    for entry in ENTRIES:
        log.add(entry)
    return log.path


def test_entries_come_back_and_each_line_is_json(path: Path) -> None:
    assert AppendLog(path).entries == ENTRIES
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize("cut", [1, 2, 20, 45])
def test_a_line_that_a_kill_cut_short_is_written_again(path: Path, cut: int) -> None:
    complete = path.read_bytes()
    path.write_bytes(complete[:-cut])
    log = AppendLog(path)
    assert log.entries == ENTRIES[:2]
    log.add(ENTRIES[2])
    assert path.read_bytes() == complete


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b'"step":2', b'"step":3'),
        lambda line: line[:-1],
        lambda line: line[1:],
        lambda line: b"\n",
        lambda line: b"\xff\n",
        lambda line: b'{"step": 2}\n',
    ],
)
def test_a_damaged_line_ends_what_is_believed(path: Path, damage: object) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage(lines[1]) + lines[2])  # type: ignore[operator]
    assert AppendLog(path).entries == ENTRIES[:1]


def test_what_is_not_kept_is_gone_from_the_file(path: Path) -> None:
    log = AppendLog(path)
    log.keep(1)
    assert log.entries == AppendLog(path).entries == ENTRIES[:1]
    log.add(ENTRIES[2])
    assert AppendLog(path).entries == [ENTRIES[0], ENTRIES[2]]


def test_reading_and_keeping_write_no_file_where_there_is_none(tmp_path: Path) -> None:
    AppendLog(tmp_path / "log.jsonl").keep(0)
    assert not list(tmp_path.iterdir())
