"""What the rules and NVIDIA's parser say about the graphs of a bundle: lint.json and proof.json."""

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import TypeAdapter

from bundle.base.frozen import Frozen
from bundle.formats.results import read_json

LINT = "lint.json"


PROOF = "proof.json"


CAVEAT = (
    "Necessary, not sufficient: TensorRT-RTX accepts types that TensorRT 10.3 refuses. The lint keeps 10.3's own table. Its plan "
    "is for compute capability 8.6: like an Orin's (8.7, TensorRT 10), not that one. The CPU it was built on does not matter."
)


Severity: TypeAlias = Literal["error", "warning"]


class Finding(Frozen):
    """One node where a graph breaks a rule.

    ``tensor`` is the tensor concerned ("" where it is the node itself), ``effect`` what TensorRT would do, ``fix`` what
    to do about it. ``accepted`` holds the reason of the acceptance that covers it, if one does.
    """

    rule: str
    severity: Severity
    node: str
    tensor: str
    effect: str
    fix: str
    accepted: str | None = None


class LintReport(Frozen):
    """What the rules say about one graph. ``unused`` names the acceptances that covered nothing."""

    graph: str
    tensorrt: str
    opset: int
    nodes: int
    quantizers: int
    findings: tuple[Finding, ...]
    unused: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What TensorRT rejects or silently gets wrong."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What costs accuracy or speed and was not accepted."""
        return tuple(finding for finding in self.findings if finding.severity == "warning" and not finding.accepted)

    @property
    def accepted(self) -> tuple[Finding, ...]:
        """The warnings that were accepted by name."""
        return tuple(finding for finding in self.findings if finding.accepted)


class LintReports(Frozen):
    """What ``lint.json`` holds: one report per graph."""

    schema_version: Literal[2] = 2
    graphs: tuple[LintReport, ...]


class FloatProduct(Frozen):
    """A GEMM or convolution that does not run in INT8."""

    node: str
    macs: int


class GraphProof(Frozen):
    """What became of one graph. Shares are of the multiply-accumulates of all GEMMs and convolutions.

    ``moves`` counts kernels that only move data (reformats), ``casts`` those that only convert between types. An attention is
    fused where one kernel computes both its products; ``not_fused`` names the first product of each other one.
    ``unjudged`` says why a graph that was not built was not refused either; ``assumed`` holds the shapes of inputs that
    the graph leaves open. ``read_bytes`` and ``written_bytes`` are the activations of all kernels for one frame, ``weight_bytes`` the constants.
    """

    graph: str
    parsed: bool
    built: bool
    unjudged: str = ""
    assumed: str = ""
    complaints: tuple[str, ...]
    kernels: int
    moves: int
    casts: int
    attentions: int
    not_fused: tuple[str, ...]
    read_bytes: int
    written_bytes: int
    weight_bytes: int
    macs: int
    int8_share: float
    fp16_share: float
    not_int8: tuple[FloatProduct, ...]
    engine_bytes: int

    @property
    def fused(self) -> int:
        """How many attentions are one kernel."""
        return self.attentions - len(self.not_fused)

    @property
    def moved_bytes(self) -> int:
        """What the kernels read and write for one frame: activations, and each weight once."""
        return self.read_bytes + self.written_bytes + self.weight_bytes


class Gate(Frozen):
    """What the plan of a quantized graph must keep beside FP16's; ``nodes`` are those that a failing one is about."""

    graph: str
    says: str
    status: Literal["held", "failed", "not run"]
    got: str
    nodes: tuple[str, ...] = ()


class Proof(Frozen):
    """What ``proof.json`` holds; ``reason`` says why nothing was proven, or which graph was refused or not judged."""

    schema_version: Literal[4] = 4
    status: Literal["accepted", "refused", "not judged", "not run"]
    reason: str = ""
    builder: str = ""
    caveat: str = CAVEAT
    graphs: tuple[GraphProof, ...] = ()
    gates: tuple[Gate, ...] = ()

    @property
    def failed(self) -> tuple[Gate, ...]:
        """The gates that failed."""
        return tuple(gate for gate in self.gates if gate.status == "failed")


def read_lint(folder: Path) -> LintReports | None:
    """Read ``lint.json`` of a bundle; None if there is none: only a target with rules has one.

    Raises:
        ArtifactError: the file is there and holds something else.
    """
    return read_json(folder, LINT, TypeAdapter(LintReports), "the findings of each graph")


def read_proof(folder: Path) -> Proof | None:
    """Read ``proof.json`` of a bundle; None if there is none.

    Raises:
        ArtifactError: the file is there and holds something else.
    """
    return read_json(folder, PROOF, TypeAdapter(Proof), "what NVIDIA's parser said of each graph")
