"""One way to run a model, as its own process opens it: the files, what runs them, and how a turn is timed."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from bundle.base.errors import ConfigError
from bundle.base.frozen import Frozen
from bundle.formats.artifacts import hash_file
from bundle.tasks.dataset import read_image
from compile.stage.graph_info import GraphInfo
from targets.base import Array, Capabilities, RunConfig, Session, SessionInfo

if TYPE_CHECKING:
    from compile.evaluation.eager import EagerModel

Runner: TypeAlias = Literal["eager", "torch.compile", "openvino", "onnxruntime", "products"]
Hint: TypeAlias = Literal["f32", "f16", "bf16", "own"]
Infer: TypeAlias = Callable[[Mapping[str, Array]], Mapping[str, Array]]
INPUT = "image"


class Subject(Frozen):
    """What one process opens. Several ``files`` run one after the other and answer together, as single-task models do.

    ``hint`` own leaves the precision to OpenVINO. ``image`` is what every timed call sees. A checkpoint's file is its folder.
    """

    runner: Runner
    files: tuple[Path, ...]
    hint: Hint
    info: GraphInfo
    image: Path
    threads: int


class Opened(NamedTuple):
    """A subject that is ready: ``infer`` answers a feed, ``elapsed_ms`` runs the timed call once, ``computes`` is its precision."""

    infer: Infer
    elapsed_ms: Callable[[], float]
    computes: str


def subject_files(subject: Subject) -> dict[str, str]:
    """Return the sha256 of everything the subject reads but for its image, by file name."""
    found: dict[str, str] = {}
    for path in subject.files:
        members = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
        if path.suffix == ".xml":
            members.append(path.with_suffix(".bin"))
        found |= {member.name: hash_file(member) for member in members}
    return found


def pin_cpus(threads: int) -> None:
    """Let this process run on ``threads`` CPUs only, where the system can say so.

    Raises:
        ConfigError: there are fewer CPUs.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < threads:
        raise ConfigError(
            "there are fewer CPUs than threads",
            expected=f"at least {threads} CPUs",
            got=str(len(cpus)),
            where="--threads",
            fix="ask for fewer threads",
        )
    os.sched_setaffinity(0, set(cpus[:threads]))


def open_subject(subject: Subject, stack: ExitStack) -> Opened:
    """Open a subject; what it holds is freed with ``stack``.

    Raises:
        ProjectError: a file or a runtime is missing, or the runtime refuses the graph.
    """
    feed = subject.info.feed(read_image(subject.image), name=str(subject.image))
    if subject.runner in ("eager", "torch.compile"):
        return _open_torch(subject, feed)
    if subject.runner == "products":
        from targets.intel.products import products_timer

        return Opened(
            _answer_nothing, products_timer(subject.files[0], subject.hint, threads=subject.threads), subject.hint
        )
    sessions = [stack.enter_context(_session(subject, path)) for path in subject.files]
    return Opened(
        infer=lambda given: {name: array for session in sessions for name, array in session.infer(given).items()},
        elapsed_ms=lambda: sum(one.timed(feed).total_ms for one in sessions),
        computes=", ".join(sorted({_precision(one) for one in sessions})),
    )


def _answer_nothing(feed: Mapping[str, Array]) -> dict[str, Array]:
    return {}


def _session(subject: Subject, path: Path) -> Session:
    run = RunConfig(threads=subject.threads)
    if subject.runner == "onnxruntime":
        from targets.reference.session import OnnxRuntimeSession, cpu_capabilities

        info = _info("reference", cpu_capabilities())
        return OnnxRuntimeSession(path, info, optimizations=True, threads=subject.threads)
    from targets.intel.session import OpenVinoSession, capabilities

    return OpenVinoSession(path, _info("intel", capabilities(run)), run, subject.hint)


def _info(target: str, able: Capabilities) -> SessionInfo:
    return SessionInfo(target=target, capabilities=able, precision="f32", executed_on="device", settings={})


def _precision(session: Session) -> str:
    from targets.intel.session import HINT

    return session.info.settings.get(HINT, "f32")


def _open_torch(subject: Subject, feed: Mapping[str, Array]) -> Opened:
    """Open a checkpoint in PyTorch; ``torch.compile`` compiles at the first call."""
    from time import perf_counter

    import torch

    from compile.evaluation.eager import EagerModel

    torch.set_num_threads(subject.threads)
    model = EagerModel(subject.files[0])
    if subject.runner == "torch.compile":
        model.compile()
    infer = _torch_infer(model)

    def elapsed_ms() -> float:
        start = perf_counter()
        infer(feed)
        return (perf_counter() - start) * 1e3

    return Opened(infer, elapsed_ms, "f32")


def _torch_infer(model: "EagerModel") -> Infer:
    return lambda feed: {name: output[None] for name, output in model.answer(feed[INPUT]).items()}
