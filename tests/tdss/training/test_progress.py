"""The log of a resumed run: later lines and a torn last line go."""

import json
from pathlib import Path

from tdss.training.progress import Log


def test_rewind_drops_later_and_torn_lines(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.rewind(5)  # no file yet
    for step in (1, 2, 3):
        log.add({"step": step, "loss": 0.5})
    with log.path.open("a") as stream:
        stream.write('{"step": 2, "lo')
    log.rewind(2)
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [1, 2]
