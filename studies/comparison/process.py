"""A subject's process as its parent sees it: orders in, lines of JSON out, an error that says what it died of."""

import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from bundle.base.errors import SessionFailed
from bundle.base.isolated import module
from bundle.formats.artifacts import write_text
from studies.comparison.subject import Subject

WORKER = "studies.comparison.worker"
PATIENCE_S = 1_800  # torch.compile of a large model takes minutes on two cores
TAIL = 4_000


class Process:
    """A running subject; leave the ``with`` block to end it. ``computes`` is the precision it says it runs in."""

    def __init__(self, name: str, subject: Subject, folder: Path) -> None:
        """Start it, with its description and what it says in ``folder``, and wait until it has opened its files.

        Raises:
            SessionFailed: it could not.
        """
        self.name = name
        write_text(folder / f"{name}.json", subject.model_dump_json())
        self._said = folder / f"{name}.err"
        threads = str(subject.threads)
        more = {"OMP_NUM_THREADS": threads, "TORCHINDUCTOR_CACHE_DIR": str(folder.parent / "inductor")}
        with self._said.open("wb") as stream:
            self._child = subprocess.Popen(
                module(WORKER, str(folder / f"{name}.json")),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=os.environ | more,
            )
        try:
            self.computes = str(self._answer()["computes"])
        except SessionFailed:
            self._kill()
            raise

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def warm(self, calls: int) -> None:
        """Run the timed call so many times; raises as ``turn``."""
        self._ask(f"warm {calls}")

    def turn(self, burst: int) -> float:
        """Return the milliseconds of one turn.

        Raises:
            SessionFailed: the process died, or said nothing for half an hour.
        """
        return float(str(self._ask(f"turn {burst}")["ms"]))

    def answer(self, questions: Path) -> None:
        """Have the questions in a file answered; raises as ``turn``."""
        self._ask(f"answers {questions}")

    def end(self) -> float | None:
        """End it and return its largest memory so far, MiB; raises as ``turn``."""
        found = self._ask("end")["peak_mib"]
        return None if found is None else float(str(found))

    def _ask(self, order: str) -> Mapping[str, object]:
        stream = self._child.stdin
        if stream is not None:
            with suppress(BrokenPipeError):  # the answer that does not come says what it died of
                stream.write(f"{order}\n".encode())
                stream.flush()
        return self._answer()

    def _answer(self) -> Mapping[str, object]:
        stream = self._child.stdout
        ready = [] if stream is None else select.select([stream], [], [], PATIENCE_S)[0]
        line = stream.readline() if stream is not None and ready else b""
        if line.endswith(b"\n"):
            found: dict[str, object] = json.loads(line)
            return found
        raise self._failed(silent=not ready)

    def _failed(self, *, silent: bool) -> SessionFailed:
        if silent:
            got = f"nothing for {PATIENCE_S} s"
        else:
            code = self._child.wait()
            got = (
                last_words(self._said)
                if code >= 0
                else f"ended by {signal.Signals(-code).name}: {last_words(self._said)}"
            )
        return SessionFailed(
            f"{self.name} did not run",
            expected="an answer of its process",
            got=got,
            where=str(self._said),
            fix="read the file; leave the row out with --only if it cannot run here",
        )

    def _kill(self) -> None:
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # an order that a dead process never read
                    stream.close()


def last_words(path: Path) -> str:
    """Return why a process ended: our error's message and what it got, or the last line that it wrote."""
    lines = [
        line.strip() for line in path.read_text(encoding="utf-8", errors="replace")[-TAIL:].splitlines() if line.strip()
    ]
    message = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
    if message and not message.startswith("a fault of this program"):
        got = next((line.removeprefix("got:").strip() for line in reversed(lines) if line.startswith("got:")), "")
        return f"{message}: {got}"
    said = [line for line in lines if not line.startswith("error: ")]
    return said[-1] if said else "it said nothing"
