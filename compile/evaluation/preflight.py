"""What a build can know before its first stage: each of these is asked then, not where it would fail ten minutes later."""

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from bundle.base.errors import ConfigError, DatasetError, not_installed
from bundle.formats.manifest import default_budgets
from bundle.formats.outputs import bundle_of, require_container, require_folder
from bundle.tasks.dataset import FolderDataset
from bundle.tasks.fit import boxes
from bundle.tasks.image_files import image_size
from bundle.tasks.label_files import missing_label
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.table import task
from bundle.transport.signature import require_private_key
from compile.stage.config import BuildConfig

PACKAGES = {"nncf": "quantization", "jinja2": "the page", "PIL": "an image file"}
"""What later stages import, whatever the target."""
CLUSTER = {"distributed": "a cluster"}


def require_outputs(config: BuildConfig, name: str, source: Path) -> Path:
    """Return the folder of the bundle ``name`` if it and the store may be written, and the key can sign it.

    Raises:
        InputError: something else is there, it lies in or around an input, it cannot be written, or there is no such key.
        TargetUnavailable: a signature is asked for and the package cryptography is not installed.
    """
    folder = config.out / name / config.target
    require_container(config.out)
    if config.store and "://" not in config.store:
        require_container(Path(config.store))
    spec = [] if config.dataset is None else [config.dataset]
    require_folder(folder, bundle_of(name, config.target), [source, config.data, *spec])
    if config.sign is not None:
        require_private_key(config.sign)
    return folder


def require_packages(workers: int) -> None:
    """Do nothing if every package that a later stage imports is installed, and with ``workers`` a cluster's.

    Raises:
        TargetUnavailable: one is not; it is named.
    """
    for package, what in (PACKAGES | (CLUSTER if workers else {})).items():
        if find_spec(package) is None:
            error = ModuleNotFoundError(f"No module named {package!r}", name=package)
            extra = "cluster" if package in CLUSTER else "host"
            raise not_installed(what, package, extra=extra, where="this Python", error=error)


def budgets_of(
    config: BuildConfig,
    model: Mapping[str, int],
    kept: Mapping[str, int],
    progress: Callable[[str], None],
    agreement: tuple[str, ...] = (),
) -> dict[str, float]:
    """Return the budget of each task that is kept: a tier's, or the default with those the configuration names.

    Tasks that are judged by ``agreement`` have other defaults.

    A budget for a task of the ``model`` that this build leaves out is ignored; ``progress`` gets a line that tells so.

    Raises:
        ConfigError: a budget is for a task that the model does not have.
    """
    if not isinstance(config.budgets, dict):
        return default_budgets(kept, strict=config.budgets == "strict", agreement=agreement)
    unknown = sorted(set(config.budgets) - set(model))
    if unknown:
        raise ConfigError(
            f"there is a budget for {unknown[0]!r}, which the model does not do",
            expected=f"tasks {', '.join(model)}",
            got=", ".join(unknown),
            where="budgets",
            fix="correct the name or remove it",
        )
    ignored = [name for name in config.budgets if name not in kept]
    if ignored:
        progress(f"budgets: ignored for {', '.join(ignored)}: this build leaves the task out")
    given = {name: budget for name, budget in config.budgets.items() if name in kept}
    return default_budgets(kept, strict=False, agreement=agreement) | given


def require_evaluation(dataset: FolderDataset, ids: tuple[str, ...], tasks: Iterable[str], size: Preprocess) -> None:
    """Do nothing if each image has the model's size and a label for each task; files are looked for, only headers read.

    Raises:
        DatasetError: an image or a label is missing, or an image has another size without a policy for it.
    """
    wanted = (size.height, size.width)
    for identifier in ids:
        path = dataset.image_path(identifier)
        found, policy = image_size(path), dataset.spec.size_policy
        if policy is not None:
            boxes(found, wanted, policy, where=str(path))
        elif found != wanted:
            raise DatasetError(
                f"the evaluation image {identifier!r} has another size than the model takes",
                expected=f"{list(wanted)} (rows, columns)",
                got=str(list(found)),
                where=str(path),
                fix="resize the images and labels of the split, or declare a size_policy in dataset.json",
            )
        for name in tasks:
            label = dataset.label_path(name, identifier)
            if not label.is_file():
                raise missing_label(label, task(name))
