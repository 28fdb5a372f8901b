"""What a build compiles: a checkpoint, or a network of another origin with its tasks.toml."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bundle.base.errors import DatasetError
from bundle.formats.artifacts import hash_file
from bundle.tasks.dataset import SPEC_FILE, load_spec
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import DatasetSpec
from bundle.tasks.table import task
from calibration.image_files import folder_images
from compile.networks.description import NetworkDescription, read_description
from compile.stage.config import BuildConfig
from compile.stage.reference_model import ReferenceModel
from compile.stage.store import tool_versions
from tdss.config import keep_tasks
from tdss.config_file import checkpoint_digest, read_config_at

if TYPE_CHECKING:
    from compile.networks.open import Opened


class Subject(NamedTuple):
    """What is compiled. ``known`` are all its tasks, ``tasks`` those that are built, with their output channels.

    ``sha256`` covers its configuration and its weights. ``open`` gives the reference, with a number of threads; ``framework``
    says what runs it, and ``eager`` whether that is PyTorch, which is timed for orientation. ``unlabelled`` tasks are judged
    by agreement. ``network`` is a network of another origin as it was opened, None of a checkpoint.
    """

    name: str
    path: Path
    known: dict[str, int]
    tasks: dict[str, int]
    preprocess: Preprocess
    sha256: str
    framework: str
    eager: bool
    open: Callable[[int], ReferenceModel]
    spec: DatasetSpec
    unlabelled: tuple[str, ...] = ()
    network: "Opened | None" = None

    @property
    def labelled(self) -> tuple[str, ...]:
        """The tasks that are judged against labels."""
        return tuple(name for name in self.tasks if name not in self.unlabelled)


def open_subject(config: BuildConfig) -> Subject:
    """Read what a build compiles; nothing is written.

    Raises:
        ConfigError: the checkpoint's configuration or tasks.toml is wrong, or does not fit.
        GraphError: the network cannot be compiled.
        DatasetError: the data has no spec, and the build needs one.
    """
    if config.network is None or not isinstance(config.tasks, Path):
        return _checkpoint(config)
    return _network(config, config.network, config.tasks)


def _checkpoint(config: BuildConfig) -> Subject:
    whole = read_config_at(config.checkpoint, config.size)
    model = keep_tasks(whole, config.kept_tasks or tuple(whole.tasks))
    tasks = tuple(model.tasks)

    def reference(threads: int) -> ReferenceModel:
        from compile.evaluation.eager import EagerModel

        opened = EagerModel(config.checkpoint, config.size)
        opened.keep(tasks)
        return opened

    return Subject(
        name=model.name,
        path=config.checkpoint,
        known=dict(whole.tasks),
        tasks=dict(model.tasks),
        preprocess=Preprocess(**model.image.model_dump()),
        sha256=checkpoint_digest(config.checkpoint, config.size),
        framework=f"torch {tool_versions('torch')['torch']}, eager, float32, unfolded",
        eager=True,
        open=reference,
        spec=load_spec(config.dataset or config.data / SPEC_FILE),
    )


def _network(config: BuildConfig, network: Path, tasks: Path) -> Subject:
    from compile.networks.open import network_digest, open_network

    described = read_description(tasks)
    opened = open_network(network, described, config.size)
    unlabelled = tuple(name for name in opened.tasks if not (config.data / name).is_dir())
    spec = _spec(config, described, {name: opened.tasks[name] for name in unlabelled})
    if spec.size_policy is None:
        _require_size(config, opened.preprocess)
    return Subject(
        name=described.name,
        path=network,
        known=opened.tasks,
        tasks=opened.tasks,
        preprocess=opened.preprocess,
        sha256=f"{hash_file(tasks)[:32]}-{network_digest(network)[:32]}",
        framework=opened.framework,
        eager=opened.eager,
        open=opened.reference,
        spec=spec,
        unlabelled=unlabelled,
        network=opened,
    )


def _require_size(config: BuildConfig, wanted: Preprocess) -> None:
    """Refuse images of another size than the network takes, before all of them are read."""
    size = (wanted.height, wanted.width)
    name, image = next(folder_images(config.data, config.calibration.split).first(1).read())
    if image.shape[:2] != size:
        raise DatasetError(
            "the images have another size than the network takes",
            expected=f"height {size[0]}, width {size[1]}",
            got=f"height {image.shape[0]}, width {image.shape[1]}",
            where=name,
            fix="declare a size_policy in dataset.json, or give --size where the network leaves it open",
        )


def _spec(config: BuildConfig, described: NetworkDescription, unlabelled: dict[str, int]) -> DatasetSpec:
    """Return the data's spec; classes of a task without labels need not be in it, and without any labels there may be none."""
    path = config.dataset or config.data / SPEC_FILE
    bare = set(unlabelled) == set(described.tasks) and config.dataset is None and not path.is_file()
    spec = DatasetSpec(name=described.name, classes={}, palettes={}, attribution="") if bare else load_spec(path)
    missing = {
        name: n
        for name, n in unlabelled.items()
        if task(name).channels is None and len(spec.classes.get(name, ())) != n
    }
    named = {
        name: described.tasks[name].classes or tuple(f"class {one}" for one in range(n)) for name, n in missing.items()
    }
    drawn = {name: tuple(_colour(index) for index in range(count)) for name, count in missing.items()}
    changes = {"classes": spec.classes | named, "palettes": spec.palettes | drawn}
    return DatasetSpec.model_validate(spec.model_dump() | changes)


def _colour(index: int) -> tuple[int, int, int]:
    """Return the colour of PASCAL VOC's map for a class: the bits of its number, interleaved from the top."""
    red, green, blue = (
        sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)
    )
    return red, green, blue
