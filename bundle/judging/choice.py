"""What ``bench.json`` and ``choice.json`` hold: how fast each variant is, which one is shipped, and why.

What a device chose is in its choice.json. From then on that variant is the one that is run, judged and drawn there.
The rule is bundle/judging/choice_rule.py; sentences about a choice are made in bundle/judging/sentences.py.
"""

from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen, faults
from bundle.formats.manifest import Bundle
from bundle.formats.results import Result, read_json
from bundle.judging.standing import Standing
from bundle.judging.timing import Load, Percentiles, Ratio, disturbances
from bundle.judging.verdict import Verdict

BENCH = "bench.json"
CHOICE = "choice.json"

Rule: TypeAlias = Literal[
    "fastest", "equal", "gain_not_shown", "narrowest", "fewest_bytes", "none_agrees", "none_within"
]
"""Why a variant is shipped.

``fastest``: its median is the best of those that may be shipped. ``equal``: noise cannot tell it from the fastest, and it
is more precise. ``gain_not_shown``: it is more precise than the fastest, whose gain is not shown beyond the noise.
``narrowest``: nothing was timed. ``fewest_bytes``: nothing was timed, and by their plans a narrower one reads and writes more.
``none_agrees``: no variant within its budgets answers as the reference does.
``none_within``: no variant is shown to be within its budgets. In the last two cases the most precise one is named.
"""
Skip: TypeAlias = Literal["nothing_to_repair", "left_out", "slower", "not_opened"]
"""Why a variant was not judged.

``nothing_to_repair``: it repairs plain INT8, which is within every budget. ``left_out``: the target's bundles go without
it, and another is within every budget. ``slower``: a faster one is within every budget. ``not_opened``: see ``error``.
"""
PickedBy: TypeAlias = Literal["name", "choice", "build"]


class VariantLatency(Frozen):
    """One variant's latency: the call with its copies, the device's own work without copies, and the runtime's own tool.

    None: it was not measured. ``settings`` are the session's, read back from the runtime: the effective precision,
    the devices, whether a cache was used. ``tool`` is the runtime's benchmark, with its medians with copies and
    without. ``tool_settings`` are its arguments and what else it printed, or why it failed.
    """

    with_copies: Percentiles
    compute: Percentiles | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    tool: str = ""
    tool_median_ms: float | None = None
    tool_compute_ms: float | None = None
    tool_settings: dict[str, str] = Field(default_factory=dict)


class Bench(Result):
    """Medians of one interleaved run, batch 1, in milliseconds; None was not measured where the file was written.

    ``runs`` counts the rounds, those that were measured again too. ``variants`` holds each variant's percentiles, ``eager`` those
    of PyTorch (no baseline: speed-ups are over ``f32_compiled_ms``), ``load`` how busy the machine was. ``machine`` is a device's power mode and clocks (``python -m targets``).
    """

    schema_version: Literal[2] = 2
    eager_ms: float | None
    f32_compiled_ms: float | None
    shipped_ms: float | None
    shipped_precision: str
    runs: int = Field(ge=0)
    warmup: int = Field(ge=0)
    variants: dict[str, VariantLatency] = Field(default_factory=dict)
    machine: dict[str, str] = Field(default_factory=dict)
    eager: Percentiles | None = None
    load: Load | None = None

    @property
    def disturbed(self) -> tuple[str, ...]:
        """What shows that the machine was busy with something else, in words."""
        return disturbances(self.load, {name: row.with_copies for name, row in self.variants.items()})


class Candidate(Frozen):
    """One variant as it was measured: ``latency_ms`` is None where time means nothing, ``verdicts`` empty if unjudged.

    ``accepted``: whoever judged lets these verdicts pass. ``standing`` sums the verdicts up, ``disagreeing`` are the tasks
    whose answers do not resemble the reference's, ``over_shipped`` is its time over the shipped variant's. ``skipped`` says
    why it was not judged, ``error`` the runtime's own message where it could not be opened.
    """

    name: str
    latency_ms: float | None
    verdicts: dict[str, Verdict]
    accepted: bool = False
    standing: Standing | None = None
    disagreeing: tuple[str, ...] = ()
    over_shipped: Ratio | None = None
    skipped: Skip | None = None
    error: str = ""


class Choice(Result):
    """Which variant is shipped, by which rule, and every candidate.

    ``fastest`` has the best median of those that may be shipped, "" where nothing was timed; ``equal`` are those that noise
    cannot tell from it. ``only`` are the variants that were asked for, if others of the bundle were not tried.
    """

    schema_version: Literal[2] = 2
    shipped: str
    rule: Rule
    fastest: str = ""
    eager_ms: float | None
    candidates: tuple[Candidate, ...]
    equal: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_its_candidates(self) -> "Choice":
        names = {one.name for one in self.candidates}
        if not {self.shipped, self.fastest or self.shipped} <= names:
            raise ValueError(f"{self.shipped!r} or {self.fastest!r} is none of the candidates {sorted(names)}")
        if self.rule in ("fastest", "equal", "gain_not_shown") and self.ship.latency_ms is None:
            raise ValueError(f"{self.shipped!r} is shipped as {self.rule!r} and has no latency")
        return self

    @property
    def speed_up(self) -> float | None:
        """How many times as fast as compiled float32 the shipped variant is; None if it is that, or one was not timed."""
        base = next((one.latency_ms for one in self.candidates if one.name == "f32"), None)
        own = self.ship.latency_ms
        return None if base is None or own is None or self.shipped == "f32" else base / own

    @property
    def ship(self) -> Candidate:
        """The shipped candidate."""
        return self.candidate(self.shipped)

    def candidate(self, name: str) -> Candidate:
        """Return the candidate of this name; there is one."""
        return next(one for one in self.candidates if one.name == name)


class Pick(NamedTuple):
    """Which variant of a bundle is run: the one asked for by ``name``, that of its ``choice``, or that of its ``build``."""

    variant: str
    by: PickedBy
    choice: Choice | None = None


def read_choice(bundle: Bundle) -> Choice | None:
    """Return ``choice.json`` as it was when the bundle was opened; None if there was none.

    Raises:
        ArtifactError: it holds something else.
    """
    if CHOICE not in bundle.results:
        return None
    try:
        return Choice.model_validate_json(bundle.results[CHOICE])
    except ValidationError as error:
        raise ArtifactError(
            f"{CHOICE} cannot be read",
            expected="the shipped variant and the candidates",
            got=faults(error),
            where=str(bundle.folder / CHOICE),
            fix="choose again: python -m targets on the bundle, or delete the file",
        ) from error


def pick(bundle: Bundle, asked: str) -> Pick:
    """Return the variant that is run: the one asked for by name, else what ``choice.json`` names, else what was shipped.

    Raises:
        ArtifactError: choice.json was altered, or names a variant that the bundle does not hold.
    """
    if asked:
        return Pick(asked, "name")
    manifest, choice = bundle.manifest, read_choice(bundle)
    if choice is None:
        return Pick(manifest.shipped, "build")
    names = [variant.name for variant in manifest.variants]
    if choice.shipped not in names:
        raise ArtifactError(
            f"{CHOICE} names a variant that the bundle does not hold",
            expected=f"one of {', '.join(names)}",
            got=choice.shipped,
            where=str(bundle.folder / CHOICE),
            fix="choose again: python -m targets on the bundle, or delete the file",
        )
    return Pick(choice.shipped, "choice", choice)


def read_bench(folder: Path) -> Bench | None:
    """Read ``bench.json`` of a bundle; None if nothing was measured.

    Raises:
        ArtifactError: the file is there and does not hold the six keys.
    """
    return read_json(folder, BENCH, TypeAdapter(Bench), "latencies in milliseconds")
