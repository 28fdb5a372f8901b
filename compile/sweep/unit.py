"""One unit of a sweep: a build in a process of its own, whose results are kept in the store under a key of all it depends on.

What crosses to a worker is names, hashes and paths. A worker computes the key from its own files, code and tools, and refuses
if that is another one. It answers in words; the results are an entry of the store.
"""

import json
import shutil
import subprocess
from pathlib import Path
from socket import gethostname
from typing import NamedTuple

from pydantic import JsonValue

from bundle.base.errors import InputError, ProjectError, SessionFailed
from bundle.base.isolated import isolate, module
from bundle.formats.artifacts import hash_file, hash_folder, write_text
from bundle.formats.contents import MANIFEST
from bundle.formats.hash_files import with_hashes
from bundle.judging.choice import BENCH
from bundle.judging.regression_report import RESULT
from compile.stage.code_hash import code_hash
from compile.stage.config import BuildConfig, validated
from compile.stage.store import STORE, StageKey, in_use, keep, open_store, tool_versions
from compile.stage.tools import STAGES
from tdss.config_file import checkpoint_digest

STAGE = "sweep"
RESULTS = with_hashes(MANIFEST, RESULT, BENCH)
BUILD, LOG = "build.toml", "log.txt"
ANSWERED = (0, 1)  # exit codes of a build that left its bundle: good, or not within budget
ERROR, GOT = "error: ", "  got:      "


class Order(NamedTuple):
    """What a worker gets: the unit's name, its configuration as JSON, its key, and the file of the machine's lock but for its host."""

    name: str
    config: str
    digest: str
    machine: str


class Outcome(NamedTuple):
    """What a worker answers: the unit's name, and why it left no results; "" where the store has them."""

    name: str
    reason: str = ""


def unit_key(config: BuildConfig) -> StageKey:
    """Return the key of all that a unit's results depend on.

    Raises:
        InputError: a file or a folder that it names cannot be read.
    """
    settings: dict[str, JsonValue] = config.model_dump(
        mode="json", exclude={"out", "store", "machine", "workers", "sign"}
    )
    inputs = []
    for name, value in config:
        if isinstance(value, Path) and name in settings:
            settings[name] = name
            inputs.append(_hash(value, is_checkpoint=name == "checkpoint"))
    tools = tool_versions(*(name for stage in STAGES.values() for name in stage.tools))
    return StageKey(
        stage=STAGE, inputs=tuple(inputs), settings=settings, code=code_hash("compile.pipeline"), tools=tools
    )


def _hash(path: Path, *, is_checkpoint: bool) -> str:
    if is_checkpoint:
        return checkpoint_digest(path)
    if path.is_dir():
        return " ".join(f"{name} {digest}" for name, digest in hash_folder(path).items())
    return hash_file(path)


def order_of(name: str, config: BuildConfig, key: StageKey, machine: Path) -> Order:
    """Return what a worker gets for a unit."""
    return Order(name, config.model_dump_json(exclude_unset=True), key.digest, str(machine))


def run_unit(*words: str) -> Outcome:
    """Build the unit of an ``Order`` unless the store has its results; an error of ours is the reason in the answer."""
    isolate()
    order = Order(*words)
    try:
        config = validated(json.loads(order.config), order.name)
        config = config.model_copy(update={"machine": Path(f"{order.machine}.{gethostname()}")})
        key = unit_key(config)
        if key.digest != order.digest:
            raise InputError(
                "the worker has other files, code or packages than the sweep",
                expected=f"key {order.digest}",
                got=f"key {key.digest}",
                where=gethostname(),
                fix="give it the same paths, the same source and the same packages",
            )
        root = open_store(config.store, config.out / STORE)
        with in_use(root):
            keep(root, key, lambda folder: _build(config, folder), lambda line: None)
    except ProjectError as error:
        return Outcome(order.name, f"{error.message}: {error.got}")
    except OSError as error:
        return Outcome(order.name, str(error))
    return Outcome(order.name)


def _build(config: BuildConfig, folder: Path) -> None:
    """Run ``tdss pipeline`` and copy the bundle's results to ``folder``."""
    import tomli_w

    config.out.mkdir(parents=True, exist_ok=True)
    asked, log = config.out / BUILD, config.out / LOG
    write_text(asked, tomli_w.dumps(config.model_dump(mode="json", exclude_unset=True, exclude_none=True)))
    with log.open("w") as said:
        line = module("cli.main", "pipeline", "--config", str(asked), "--json")
        ran = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, check=False)
    if ran.returncode not in ANSWERED or not ran.stdout:
        raise SessionFailed(
            "the build left no bundle",
            expected=f"exit code {' or '.join(map(str, ANSWERED))}",
            got=_reason(log) or f"exit code {ran.returncode}",
            where=str(log),
            fix=f"tdss pipeline --config {asked}",
        )
    bundle = Path(json.loads(ran.stdout)["bundle"])
    for name in RESULTS:
        if (bundle / name).is_file():
            shutil.copyfile(bundle / name, folder / name)


def _reason(log: Path) -> str:
    """Return what a build's error says, and what it got instead."""
    lines = log.read_text(errors="replace").splitlines()
    return "; ".join(line.removeprefix(start) for line in lines for start in (ERROR, GOT) if line.startswith(start))
