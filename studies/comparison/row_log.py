"""The rounds of one row, line by line on disk, so that a killed run goes on and a finished row is not measured again.

A file is named by the row's key: the hashes of what is run, how, and on which machine with which ISA. It is an append-only
log (bundle/base/append_log.py).
"""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from bundle.base.append_log import AppendLog
from bundle.base.frozen import Frozen
from bundle.base.strict_json import dumps
from bundle.formats.artifacts import hash_file
from bundle.judging.timing import Load
from compile.stage.config import TimingConfig
from compile.stage.store import tool_versions
from studies.comparison.subject import Subject, subject_files
from targets.isa import cpu_isa, cpu_name, read_cpuinfo

KEY_LENGTH = 24
TOOLS = ("torch", "openvino", "nncf", "onnxruntime")


class Turn(Frozen):
    """One round of one row, milliseconds; ``sitting`` names the run of the command."""

    kind: Literal["turn"] = "turn"
    sitting: str
    ms: float


class End(Frozen):
    """What a row's process said at its end, and how busy the machine was in that sitting."""

    kind: Literal["end"] = "end"
    sitting: str
    computes: str
    peak_mib: float | None
    load: Load


LINE: TypeAdapter[Turn | End] = TypeAdapter(Turn | End)


class RowLog:
    """The journal of one row: its turns in order, and what its last process said."""

    def __init__(self, path: Path) -> None:
        """Read what is there; nothing is written before the first ``add``."""
        self._log = AppendLog(path)
        self.turns: list[Turn] = []
        self.end: End | None = None
        for entry in self._log.entries:
            self._take(LINE.validate_json(entry))

    def add(self, line: Turn | End) -> None:
        """Append a line; when this returns it is on the disk."""
        self._log.add(line.model_dump_json())
        self._take(line)

    def finished(self, rounds: int) -> bool:
        """Say whether all rounds are there, and what the process said after the last of them."""
        return len(self.turns) >= rounds and self.end is not None

    def _take(self, line: Turn | End) -> None:
        if isinstance(line, End):
            self.end = line
        else:
            self.turns.append(line)
            self.end = None


def row_key(subject: Subject, timing: TimingConfig) -> str:
    """Return the key of a row, hexadecimal: all that decides its figures but the number of rounds."""
    cpuinfo = read_cpuinfo()
    facts = {
        "files": subject_files(subject),
        "image": hash_file(subject.image),
        "subject": subject.model_dump(mode="json", exclude={"files", "image"}),
        "burst": timing.burst,
        "warmup": timing.warmup,
        "tools": tool_versions(*TOOLS),
        "machine": cpu_name(cpuinfo),
        "isa": list(cpu_isa(cpuinfo)),
    }
    return hashlib.sha256(dumps(facts, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]
