"""The files of each network, and the commands that take it through ``tdss pipeline --network``."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from bundle.base.frozen import Frozen
from bundle.formats.artifacts import hash_file, write_text
from compile.stage.code_hash import code_hash
from studies.command_journal import Job
from studies.foreign.networks import Network, Sources, write_view

TARGETS = ("intel", "jetson")
TASKS = "tasks.toml"
MADE = "made.json"


class Terms(NamedTuple):
    """What every command of a run shares: sources, the labelled folder, how many images judge, where all is written.

    ``search`` repairs INT8 where it breaks a budget.
    """

    sources: Sources
    data: Path
    images: int
    out: Path
    search: bool

    def folder(self, network: Network) -> Path:
        """Return the folder of a network's own files."""
        return self.out / "networks" / network.name


class Stamp(Frozen):
    """What a network's file was made of, and the seconds that took."""

    code: str
    sha256: str
    seconds: float


def make_files(network: Network, terms: Terms, say: Callable[[str], None]) -> None:
    """Write a network's file, its tasks.toml and its view of the data; a file that this code made is left as it is.

    Raises:
        InputError: what it is made of is not here.
    """
    folder, code = terms.folder(network), code_hash("studies.foreign.networks")
    path, stamp = folder / network.file, folder / MADE
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / TASKS, network.tasks)
    write_view(terms.data, network, folder / "data")
    if stamp.is_file() and path.is_file():
        made = Stamp.model_validate_json(stamp.read_bytes())
        if (made.code, made.sha256) == (code, hash_file(path)):
            return
    say(f"{network.name}: {network.file} is made")
    start = perf_counter()
    network.make(path, terms.sources)
    made = Stamp(code=code, sha256=hash_file(path), seconds=perf_counter() - start)
    write_text(stamp, made.model_dump_json() + "\n")


def build_job(network: Network, target: str, terms: Terms) -> Job:
    """Return the command that builds a network for a target."""
    folder, size = terms.folder(network), () if network.size is None else ("--size", *map(str, network.size))
    words: tuple[str, ...] = ("cli.main", "pipeline", "--target", target, "--network", str(folder / network.file))
    words = (*words, "--tasks", str(folder / TASKS), *size, "--data", str(folder / "data"))
    words = (*words, "--evaluation-count", str(terms.images), "--out", str(terms.out))
    words = (*words, "--search" if terms.search else "--no-search")
    journal = terms.out / ".journal" / f"{network.name}-{target}.jsonl"
    return Job(network.name, target, words, terms.out / network.name / target, journal)


def job_key(network: Network, job: Job, terms: Terms) -> str:
    """Return the key of a command of a network."""
    folder = terms.folder(network)
    made = (hash_file(folder / name) for name in (network.file, TASKS))
    return job.key("foreign", terms.data, code_hash("studies.foreign.networks"), *made)
