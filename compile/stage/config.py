"""What a build is asked to do: a TOML file or command-line options, read into one frozen value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args

from pydantic import Field, JsonValue, ValidationError, model_validator

from bundle.base.errors import ConfigError
from bundle.base.frozen import Frozen, faults, fix_of
from bundle.base.limits import Count, CountOrNone, Positive, Seed, Side, SplitName, Threads
from bundle.formats.io_forms import Io
from bundle.judging.sensitivity import SearchConfig
from bundle.judging.timing import AGAIN
from bundle.tasks.dataset import FolderDataset
from calibration.image_files import ImageFiles
from compile.stage.shipped import shipped_data, shipped_model
from targets.table import TARGETS
from tdss.toml_file import read_toml

FoldMode: TypeAlias = Literal["cost", "none"]
RETIRED_MODE = "all"
FIX_MODE = "use cost: it takes every elimination that pays"

# The settings whose names differ from their options': a dot stands before the name in a table of the TOML file.
SETTINGS = {
    "calibration_split": "calibration.split",
    "calibration_count": "calibration.count",
    "evaluation_split": "evaluation.split",
    "evaluation_count": "evaluation.count",
    "fold_mode": "fold",
    "search": "search.enabled",
    "search_limit": "search.limit",
    "timing_runs": "timing.runs",
    "timing_warmup": "timing.warmup",
    "sign_with": "sign",
}


class CalibrationConfig(Frozen):
    """Which images quantization sees: ``count`` of them, drawn from ``split`` with the build's seed.

    64 is what the shipped calibration set holds; range estimates settle well before. All that are drawn are used.
    """

    split: SplitName = "calibration"
    count: Count = 64


class EvaluationConfig(Frozen):
    """Which images the bundle is judged on: ``count`` of them, drawn from ``split`` with the build's seed.

    Up to ``hard`` more, rare or badly answered, show how alike the two models' answers are, and count for no metric.
    """

    split: SplitName = "val"
    count: Count = 100
    hard: CountOrNone = 8


class TimingConfig(Frozen):
    """The timing protocol: ``runs`` interleaved rounds after ``warmup`` untimed ones; medians are quoted.

    ``again`` is how many times as many rounds again are measured where noise hides which variant deserves to be shipped.
    ``burst`` is how many calls in a row a round times of each subject (compile/evaluation/timing.py).

    A less precise variant is shipped only if its median is below ``gain`` times the more precise one's.
    """

    runs: Count = 15
    warmup: CountOrNone = 3
    again: CountOrNone = AGAIN
    burst: Count = 1
    gain: Annotated[float, Field(gt=0, le=1)] = 0.95


class FreezeOptions(Frozen):
    """What freezing gates sees and may spend: images, their labels if they have any, relative drops by task.

    Where a task has no budget, the default of its row in bundle/tasks/table.py counts. ``scales`` are the reference's metrics of tasks where
    lower is better, for images without labels.
    """

    images: ImageFiles
    labels: FolderDataset | None = None
    budgets: dict[str, Positive] = Field(default_factory=dict)
    scales: dict[str, float] = Field(default_factory=dict)


class BuildConfig(Frozen):
    """One build. ``budgets`` is a tier's name, or the largest relative drop of each task that differs from it.

    ``threads`` 0 and ``device`` "" leave the choice to the target, which records what it took.
    """

    target: str
    checkpoint: Path = Field(default_factory=shipped_model)
    data: Path = Field(default_factory=shipped_data)
    dataset: Path | None = None  # None: dataset.json in the data folder
    calibration: CalibrationConfig = CalibrationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    search: SearchConfig = SearchConfig()
    fold: FoldMode = "cost"
    tasks: tuple[str, ...] | Path = ()  # empty: every task of the model; a path: a network's tasks.toml.
    network: Path | None = None  # compiled instead of a checkpoint.
    size: tuple[Side, Side] | None = (
        None  # height and width: of a checkpoint instead of its own, or what a network leaves open
    )
    freeze_gates: bool = False
    io: Io = "raw"
    device: str = ""
    threads: Threads = 0
    budgets: Literal["default", "strict"] | dict[str, Positive] = "default"
    allow_inconclusive: bool = False
    timing: TimingConfig = TimingConfig()
    seed: Seed = 0
    out: Path = Path("build")
    store: str = ""  # of stages: a folder or an fsspec URL; "": OUT/.store
    machine: Path | None = None  # the lock file of builds that share this machine: one measures at a time
    workers: Threads = 0  # processes that search and judge; 0: this one
    sign: Path | None = None  # the private key that signs the bundle; None: it is not signed

    @property
    def kept_tasks(self) -> tuple[str, ...]:
        """The tasks of a checkpoint that are built; empty: all."""
        return () if isinstance(self.tasks, Path) else self.tasks

    @model_validator(mode="after")
    def _one_subject(self) -> "BuildConfig":
        given = self.model_fields_set
        if self.network is None and isinstance(self.tasks, Path):
            raise ValueError("tasks as a file belong to a network, and there is no network")
        if self.network is not None and "checkpoint" in given:
            raise ValueError("a build compiles a checkpoint or a network, and both are given")
        if self.network is not None and not isinstance(self.tasks, Path):
            raise ValueError("a network needs tasks, the path of its tasks.toml")
        if self.network is not None and self.freeze_gates:
            raise ValueError("freeze_gates belongs to a checkpoint: a network has no gates that are known")
        return self


def require_mode(text: str) -> FoldMode:
    """Return the way of folding that a command line names.

    Raises:
        ConfigError: there is none of this name.
    """
    for mode in get_args(FoldMode):
        if text == mode:
            found: FoldMode = mode
            return found
    raise ConfigError(
        f"there is no fold mode {text!r}",
        expected=f"one of {', '.join(get_args(FoldMode))}",
        got=repr(text),
        where="--fold",
        fix=FIX_MODE if text == RETIRED_MODE else "correct the name",
    )


def load_config(path: Path | None, options: Mapping[str, JsonValue | Path]) -> BuildConfig:
    """Read a build's configuration: the TOML file at ``path``, if any, then ``options`` over it.

    An option's name may be dotted (``calibration.count``).

    Raises:
        ConfigError: the file cannot be read, or a key or value is not one a build knows.
    """
    values: dict[str, object] = {} if path is None else read_toml(path, "the build configuration")
    for name, value in options.items():
        _set(values, name, value)
    return validated(values, "the command line" if path is None else str(path))


def validated(values: Mapping[str, object], where: str) -> BuildConfig:
    """Return a build's configuration from its plain values; ``where`` names them in the error.

    Raises:
        ConfigError: a key or value is not one a build knows.
    """
    try:
        return BuildConfig.model_validate(values)
    except ValidationError as error:
        fix = f"give --target, one of {', '.join(TARGETS)}" if "target" not in values else fix_of(error)
        raise ConfigError(
            "this is no build configuration",
            expected=f"keys {', '.join(BuildConfig.model_fields)}",
            got=faults(error),
            where=where,
            fix=FIX_MODE if values.get("fold") == RETIRED_MODE else fix,
        ) from error


def asked_budgets(text: str | None) -> JsonValue:
    """Return what ``--budgets`` means: a tier's name, or for ``depth=0.01,edge=0.02`` each task's budget.

    Raises:
        ConfigError: a budget is no number.
    """
    if text is None or "=" not in text:
        return text
    pairs = [part.partition("=") for part in text.split(",") if part]
    try:
        return {name.strip(): float(value) for name, _, value in pairs}
    except ValueError as error:
        raise ConfigError(
            "a budget is no number",
            expected="saliency=0.02,depth=0.01",
            got=text,
            where="--budgets",
            fix="give each task's largest relative drop: 0.01 is 1 %",
        ) from error


def _set(values: dict[str, object], name: str, value: JsonValue | Path) -> None:
    head, _, rest = name.partition(".")
    if not rest:
        values[head] = value
        return
    inner = values.get(head, {})
    values[head] = {**inner, rest: value} if isinstance(inner, dict) else {rest: value}


class SearchSettings(NamedTuple):
    """What a search is asked: the labelled folder of the calibration images, the budgets, how far to go.

    Tasks of ``agreement`` are judged against the float graph's own answers.
    """

    dataset: FolderDataset
    budgets: dict[str, float]
    seed: int
    config: SearchConfig
    agreement: tuple[str, ...] = ()


def given_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a command line gives, by their names in a TOML file, from its options by name.

    Raises:
        ConfigError: the budgets cannot be read.
    """
    given = {SETTINGS.get(name, name): value for name, value in options.items() if value is not None}
    given = {name: value for name, value in given.items() if name not in ("config", "as_json")}
    if "tasks" in given and not given["tasks"].endswith(".toml"):
        given["tasks"] = given["tasks"].split(",") if given["tasks"] else []
    if "budgets" in given:
        given["budgets"] = asked_budgets(given["budgets"])
    return given
