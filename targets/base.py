"""The contract between the compiler and a device: what a target can do, what it wants, how it runs a graph.

A target is a folder: data in ``profile.json`` (targets/target_profile.py), and a class with a few verbs. ``convert`` writes
the graph in the format of the target. ``build`` makes what the device loads, or says why that must wait. ``open`` gives a
``Session``. ``Session.infer`` checks names, dtypes and shapes in one public method; a backend writes ``_infer`` only, and
``_start`` too where its runtime has asynchronous requests.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import ClassVar, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bundle.base.errors import ArtifactError, ProjectError, SessionFailed
from bundle.base.frozen import Frozen
from bundle.base.limits import Count, Threads
from bundle.formats.artifacts import TensorSpec
from bundle.judging.choice_rule import Precision
from targets.check_arrays import check_feed, check_outputs, wrong_feed
from targets.graph_format import GraphFormat
from targets.machine import machine_facts
from targets.rewrites import read_rewrites
from targets.target_profile import Profile, read_profile

HeadType: TypeAlias = Literal["float", "int8"]
Array: TypeAlias = NDArray[np.generic]
Execute: TypeAlias = Literal["auto", "device", "emulation"]
ExecutedOn: TypeAlias = Literal["device", "emulation"]
Value = TypeVar("Value")


class Capabilities(Frozen):
    """What one device of this machine can do. ``precisions`` are those it computes in natively.

    ``isa`` names the vector and matrix extensions that decide speed and saturation, e.g. ``avx512_vnni``.
    """

    device: str
    device_name: str
    isa: tuple[str, ...]
    precisions: tuple[Precision, ...]
    runtime: str


class RunConfig(Frozen):
    """Where and how a graph runs. ``threads`` 0 and ``device`` "" leave the choice to the target, which records it.

    ``model_cache`` keeps what OpenVINO compiled; ``workspace_mib`` and ``builder`` are TensorRT's.
    """

    device: str = ""
    threads: Threads = 0
    model_cache: Path | Literal["off"] = "off"
    workspace_mib: Count = 2048
    builder: Literal["onnx", "torch-tensorrt"] = "onnx"


class IgnoredPattern(Frozen):
    """Nodes that stay in float: a regular expression over node names, and why."""

    pattern: str
    reason: str


class QuantizationScheme(Frozen):
    """How NNCF is to quantize for one device. ``reasons`` holds one sentence per choice, keyed by field name.

    ``thin_below``: a GEMM with K or N below it stays in float (0: none does).
    ``heads``: float keeps the 1×1 convolutions behind which nothing else is multiplied before an output in float.
    ``per_channel_depthwise_activations`` allows NNCF one activation scale per channel before a depthwise convolution.
    """

    preset: Literal["performance", "mixed"]
    model_type: Literal["transformer", "none"]
    smooth_quant_alpha: float | Literal["off"]
    fast_bias_correction: bool
    overflow_fix: Literal["enable", "first_layer_only", "disable"]
    thin_below: int = Field(ge=0)
    heads: HeadType
    per_channel_depthwise_activations: bool
    ignored: tuple[IgnoredPattern, ...]
    reasons: dict[str, str]

    @model_validator(mode="after")
    def _every_choice_has_a_reason(self) -> "QuantizationScheme":
        choices = set(type(self).model_fields) - {"ignored", "reasons"}
        if set(self.reasons) != choices:
            raise ValueError(f"reasons must name {sorted(choices)}, it names {sorted(self.reasons)}")
        return self


class VariantRecipe(Frozen):
    """One precision a target offers. ``graph`` says which graph it runs, ``hint`` the float type of its other layers.

    A ``mixed`` graph is a quantized one with some layers returned to float; ``weights`` has float activations.
    """

    name: Precision
    graph: Literal["float", "fp16", "quantized", "mixed", "weights"]
    hint: Literal["f32", "f16", "bf16"]
    reason: str


class Variant(Frozen):
    """A recipe together with its files, relative to their folder; the first one is the graph."""

    recipe: VariantRecipe
    files: tuple[str, ...] = Field(min_length=1)


class EngineBuilt(Frozen):
    """An engine exists. ``files`` are relative to the folder it was built in; ``settings`` are the effective ones."""

    status: Literal["built"] = "built"
    variants: tuple[Variant, ...]
    files: tuple[str, ...]
    settings: dict[str, str]


class DeferredEngine(Frozen):
    """The engine can only be built on the device; ``reason`` says why, for people."""

    status: Literal["deferred"] = "deferred"
    reason: str


EngineStatus: TypeAlias = EngineBuilt | DeferredEngine


class SessionInfo(Frozen):
    """What a session runs on, as read back from the runtime, not as asked for."""

    target: str
    capabilities: Capabilities
    precision: Precision
    executed_on: ExecutedOn
    settings: dict[str, str]


class Latency(Frozen):
    """One inference in milliseconds: the whole call, and the device's own work without copies (None: not known)."""

    total_ms: float
    compute_ms: float | None = None


class Ran(NamedTuple):
    """What a run that was started gave, and the milliseconds from its start to its end, not to when it was asked for."""

    outputs: dict[str, Array]
    ms: float


Wait: TypeAlias = Callable[[], Ran]


class Session(ABC):
    """A loaded graph, ready to run; close it, or use it in a ``with`` block. ``info`` says what really runs."""

    def __init__(self, info: SessionInfo, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.info = info
        self.inputs = inputs
        self.outputs = outputs
        self._open = True
        self._worker = ThreadPoolExecutor(1, "inference")  # no thread before the first run that is started

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once. The arrays returned belong to the caller: a later call does not change them.

        Raises:
            InputError: the feed breaks ``inputs``, or the session is closed.
            ArtifactError: the backend returned something other than ``outputs``.
            SessionFailed: the runtime raised an error of its own.
        """
        self._check(feed)
        return self._checked(self._guarded(lambda: self._infer(feed)))

    def start(self, feed: Mapping[str, Array]) -> Wait:
        """Begin a run and return at once; the function returned waits for its end and raises what ``infer`` would.

        One run at a time: wait for it before the next call of this session. The feed stays as it is until then.

        Raises:
            InputError: the feed breaks ``inputs``, or the session is closed.
            SessionFailed: the runtime raised an error of its own.
        """
        self._check(feed)
        wait = self._guarded(lambda: self._start(feed))

        def ended() -> Ran:
            ran = self._guarded(wait)
            return Ran(self._checked(ran.outputs), ran.ms)

        return ended

    def timed(self, feed: Mapping[str, Array]) -> Latency:
        """Run the graph once and say how long it took; the outputs are dropped. A device with a clock of its own uses it.

        Raises:
            InputError: the feed breaks ``inputs``, or the session is closed.
            SessionFailed: the runtime raised an error of its own.
        """
        self._check(feed)
        return Latency(total_ms=self._guarded(lambda: self._timed(feed)).ms)

    def _timed(self, feed: Mapping[str, Array]) -> Ran:
        start = perf_counter()
        outputs = self._infer(feed)
        return Ran(outputs, (perf_counter() - start) * 1e3)

    def _guarded(self, call: Callable[[], Value]) -> Value:
        try:
            return call()
        except (ProjectError, MemoryError):
            raise
        except Exception as error:
            raise SessionFailed(
                "the runtime failed while it ran the graph",
                expected="outputs",
                got=f"{type(error).__name__}: {error}",
                where=self._where(),
                fix="fix what the runtime names: the graph, or the memory that it needs",
            ) from error

    def _checked(self, outputs: dict[str, Array]) -> dict[str, Array]:
        check_outputs(outputs, self.outputs, where=self._where())
        return {spec.name: outputs[spec.name] for spec in self.outputs}

    def _where(self) -> str:
        return f"target {self.info.target}, {self.info.precision} on {self.info.capabilities.device}"

    def close(self) -> None:
        """Free what the backend holds, when a run that was started has ended; a second call does nothing."""
        if self._open:
            self._open = False
            self._worker.shutdown()
            self._close()

    def _check(self, feed: Mapping[str, Array]) -> None:
        """Refuse a closed session, and a feed that breaks ``inputs``."""
        if not self._open:
            raise wrong_feed("the session is closed", "an open session", "a closed one", "open a new session")
        check_feed(feed, self.inputs)

    @abstractmethod
    def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph on a checked feed; return fresh arrays by output name."""

    def _start(self, feed: Mapping[str, Array]) -> Wait:
        """Begin a run on a checked feed: in a thread, where the runtime has no asynchronous requests."""
        return self._worker.submit(self._timed, feed).result

    @abstractmethod
    def _close(self) -> None:
        """Free the backend's handles."""


def check_specs(session: Session, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], where: str) -> None:
    """Check that a session takes and gives what was recorded, in any order; close it if not.

    Raises:
        ArtifactError: an input or output has another name, dtype or shape.
    """
    for kind, got, expected in (("inputs", session.inputs, inputs), ("outputs", session.outputs, outputs)):
        if sorted(got, key=lambda spec: spec.name) != sorted(expected, key=lambda spec: spec.name):
            session.close()
            raise ArtifactError(
                f"the graph's {kind} are not what was recorded",
                expected=str([f"{spec.name} {spec.dtype} {spec.shape}" for spec in expected]),
                got=str([f"{spec.name} {spec.dtype} {spec.shape}" for spec in got]),
                where=where,
                fix="build it again",
            )


class VendorTiming(NamedTuple):
    """What a tool measured: medians in milliseconds with copies and without (None: it does not say), and its settings."""

    median_ms: float
    compute_ms: float | None
    settings: dict[str, str]


class VendorBenchmark(NamedTuple):
    """A runtime's own benchmark. ``measure`` gets a folder with a variant's files, the bundle's folder, and seconds."""

    name: str
    measure: Callable[[Path, Path, Variant, RunConfig, int], VendorTiming]


class Target(ABC):
    """A kind of device one can compile for; its data and its modules are in ``folder``.

    ``own_format`` is that of its graphs; None: they are ONNX, which compile/ reads and quantizes itself.
    """

    name: ClassVar[str]
    own_format: ClassVar[GraphFormat | None] = None
    vendor_benchmark: ClassVar[VendorBenchmark | None] = None

    @property
    def folder(self) -> Path:
        """The target's folder, whose name is the target's."""
        return Path(__file__).parent / self.name

    @cached_property
    def profile(self) -> Profile:
        """What holds for it on any device."""
        return read_profile(self.name)

    @property
    def graph_suffix(self) -> str:
        """How the name of one of its graphs ends."""
        return ".onnx" if self.own_format is None else self.own_format.suffix

    @property
    def passes(self) -> tuple[str, ...]:
        """The passes over its quantized ONNX graph that make it legal, by name and in order."""
        return ()

    @property
    def fusing_passes(self) -> tuple[str, ...]:
        """The passes after those: they let the runtime fuse, and change nothing that a layer's sensitivity depends on."""
        return ()

    def rewrites(self, capabilities: Capabilities) -> tuple[str, ...]:
        """Name the passes over the float graph, in order: those that ``rewrites.json`` has on for such a device."""
        return read_rewrites(self.folder).chosen(capabilities.device)

    def devices(self) -> tuple[str, ...]:
        """Name the devices of this machine that its runtime lists; none where it lists none."""
        return ()

    def machine_facts(self) -> dict[str, str]:
        """Say what a latency on this machine depends on: clocks, temperature."""
        return machine_facts()

    @abstractmethod
    def capabilities(self, run: RunConfig) -> Capabilities:
        """Ask the runtime what ``run.device`` can do; TargetUnavailable if it is not here."""

    @abstractmethod
    def variants(self, capabilities: Capabilities) -> tuple[VariantRecipe, ...]:
        """Return the precisions worth offering on such a device, the plainest first."""

    @abstractmethod
    def scheme(self, capabilities: Capabilities) -> QuantizationScheme:
        """Say how to quantize for such a device; InputError if the target never quantizes."""

    def convert(self, onnx_path: Path, out_path: Path) -> tuple[str, ...]:
        """Write the ONNX graph in the target's format; return the names of the files written, the graph first."""
        shutil.copyfile(onnx_path, out_path)
        return (out_path.name,)

    def opened_once(self, folder: Path, variants: tuple[Variant, ...], run: RunConfig) -> EngineBuilt:
        """Open each variant, so that one which cannot be opened fails now; return the effective settings. No engine is stored."""
        settings: dict[str, str] = {}
        for variant in variants:
            with self.open(folder, variant, run, "auto", keep=folder) as session:
                settings |= {f"{variant.recipe.name}.{key}": value for key, value in session.info.settings.items()}
        return EngineBuilt(variants=variants, files=(), settings=settings)

    @abstractmethod
    def build(self, folder: Path, variants: tuple[Variant, ...], run: RunConfig) -> EngineStatus:
        """Make what the device loads from the variants' graphs in ``folder``, or say why that must wait."""

    @abstractmethod
    def open(self, folder: Path, variant: Variant, run: RunConfig, execute: Execute, *, keep: Path) -> Session:
        """Load a variant's graph from ``folder``; TargetUnavailable if ``execute`` cannot be had here.

        ``keep`` is the folder whose ``engines/`` holds what the device built of it. ``folder`` may be gone once this returns.
        """
