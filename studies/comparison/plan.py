"""What is compared: the groups of rows, each timed in one interleaved run, and the models they run.

default    the checkpoint, every way; drops on labelled scenes
swin-t     the Swin-T of studies/folding/run.py at 448, dynamic gates, six tasks, seeded weights; signal-to-noise ratios
scaling    the checkpoint's configuration with 1 to 6 and 24 tasks at 224, and with 1, 6 and 24 at 448, seeded weights
"""

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bundle.base.errors import ConfigError
from bundle.tasks.dataset import SPEC_FILE, FolderDataset, load_spec
from bundle.tasks.preprocess import Preprocess
from calibration.sampling import choose, from_folder
from compile.stage.config import TimingConfig
from compile.stage.graph_info import GraphInfo
from studies.comparison.contenders import SCALING, WAYS, Way
from studies.comparison.makers import Model

if TYPE_CHECKING:
    from studies.folding.graphs import Preset
    from tdss.config import ModelConfig

BURST, WARMUP = 3, 3


class Settings(NamedTuple):
    """How much is measured. ``rounds`` are those of default, swin-t and scaling; ``sizes`` are (side, numbers of tasks)."""

    rounds: tuple[int, int, int]
    images: int
    calibration: int
    compared: int  # images without labels that are compared
    preset: "Preset"
    sizes: tuple[tuple[int, tuple[int, ...]], ...]


FULL = Settings((25, 9, 15), 148, 64, 8, "swin-t", ((224, (1, 2, 3, 4, 5, 6, 24)), (448, (1, 6, 24))))
QUICK = Settings((5, 5, 5), 16, 8, 2, "tiny", ((224, (1, 2)),))


class Contest(NamedTuple):
    """One row to be: its model, its way, and the labelled images it answers (None: the model's own images)."""

    model: Model
    way: Way
    dataset: FolderDataset | None
    ids: tuple[str, ...]
    images: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The row's name among those of its group."""
        return f"{self.model.name}, {self.way.name}".replace(" ", "-").replace(",", "")


class Group(NamedTuple):
    """Rows that are timed in turns. ``compared`` says whether what they answer is compared with the reference."""

    name: str
    contests: tuple[Contest, ...]
    timing: TimingConfig
    compared: bool


Maker = Callable[["Plan", tuple[Way, ...]], Group]


class Plan(NamedTuple):
    """What was asked for."""

    checkpoint: Path
    data: Path
    work: Path
    settings: Settings


def default_group(plan: Plan, ways: tuple[Way, ...]) -> Group:
    """Return the rows of the checkpoint on its labelled scenes.

    Raises:
        InputError: the checkpoint or the data cannot be used.
    """
    from tdss.checkpoint import load
    from tdss.config_file import CONFIG, read_config

    settings = plan.settings
    config = read_config(plan.checkpoint / CONFIG)
    dataset = FolderDataset(root=plan.data.resolve(), spec=load_spec(plan.data / SPEC_FILE))
    dataset.require_channels(config.tasks)
    info = _info(config)
    drawn = from_folder(plan.data, "calibration", settings.calibration, seed=0, preprocess=info.preprocess)
    ids = choose(dataset.ids("val"), settings.images, seed=0)
    model = Model(config.name, plan.checkpoint, info, drawn, lambda: load(plan.checkpoint)[1])
    contests = tuple(Contest(model, way, dataset, ids, ()) for way in ways)
    return Group("default", contests, _timing(settings.rounds[0]), compared=True)


def swin_group(plan: Plan, ways: tuple[Way, ...]) -> Group:
    """Return the rows of the seeded Swin-T, or of a tiny model in its place."""
    from studies.folding.graphs import config_of

    settings = plan.settings
    model = _seeded(config_of(settings.preset, "dynamic"), settings.preset, plan)
    images = model.calibration.paths[: settings.compared]
    contests = tuple(Contest(model, way, None, (), images) for way in ways)
    return Group("swin-t", contests, _timing(settings.rounds[1]), compared=True)


def scaling_group(plan: Plan, ways: tuple[Way, ...]) -> Group:
    """Return the rows of the checkpoint's configuration with other numbers of tasks and image sizes; nothing is compared."""
    from tdss.config_file import CONFIG, read_config

    whole = read_config(plan.checkpoint / CONFIG)
    contests = []
    for side, counts in plan.settings.sizes:
        for count in counts:
            config = sized(whole, side, count)
            model = _seeded(config, f"{side}, {count} task{'s' if count > 1 else ''}", plan)
            contests += [Contest(model, way, None, (), ()) for way in ways if way.name in SCALING]
    return Group("scaling", tuple(contests), _timing(plan.settings.rounds[2]), compared=False)


GROUPS: dict[str, Maker] = {"default": default_group, "swin-t": swin_group, "scaling": scaling_group}


def chosen(only: Sequence[str]) -> tuple[tuple[str, ...], tuple[Way, ...]]:
    """Return the groups and the ways that ``only`` names; all groups where it names none, and so for the ways.

    Raises:
        ConfigError: a name is neither.
    """
    ways = {way.name: way for way in WAYS}
    for name in only:
        if name not in GROUPS and name not in ways:
            raise ConfigError(
                "there is no such group or row",
                expected=f"one of {', '.join((*GROUPS, *ways))}",
                got=name,
                where="--only",
                fix="correct the name",
            )
    groups = tuple(name for name in GROUPS if name in only) or tuple(GROUPS)
    return groups, tuple(way for name, way in ways.items() if name in only) or WAYS


def sized(config: "ModelConfig", side: int, count: int) -> "ModelConfig":
    """Return a configuration with so many tasks and images of ``side`` × ``side``; tasks beyond its own repeat them by other names."""
    rows = list(islice(cycle(config.tasks.items()), count))
    tasks = {name if index < len(config.tasks) else f"{name}_{index}": size for index, (name, size) in enumerate(rows)}
    image = config.image.model_copy(update={"height": side, "width": side})
    return config.model_copy(update={"tasks": tasks, "image": image, "name": f"{config.name}-{side}-{count}"})


def _seeded(config: "ModelConfig", name: str, plan: Plan) -> Model:
    """Return a model with seeded weights, and smooth random images of its size."""
    from studies.folding.graphs import SEED, write_checkpoint, write_image
    from studies.folding.models import random_model

    folder = plan.work / "models" / config.name
    info, count = _info(config), max(plan.settings.compared, 1)
    write_image(folder / "images", config, count)
    drawn = from_folder(folder / "images", "", count, seed=0, preprocess=info.preprocess)
    checkpoint = write_checkpoint(folder / "checkpoint", config)
    return Model(name, checkpoint, info, drawn, lambda: random_model(config, SEED))


def _info(config: "ModelConfig") -> GraphInfo:
    return GraphInfo(io="raw", preprocess=Preprocess(**config.image.model_dump()), tasks=dict(config.tasks))


def _timing(rounds: int) -> TimingConfig:
    return TimingConfig(runs=rounds, warmup=WARMUP, burst=BURST)
