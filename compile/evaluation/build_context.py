"""Open a build: read and check what it needs before any stage runs."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bundle.tasks.dataset import SPEC_FILE, FolderDataset, load_spec
from bundle.tasks.preprocess import Preprocess
from calibration.sampling import CalibrationSet, from_folder
from compile.evaluation import vectors
from compile.evaluation.preflight import budgets_of, require_evaluation, require_outputs, require_packages
from compile.stage.config import BuildConfig
from targets.base import RunConfig, Target
from targets.table import target as find_target
from tdss.config import ModelConfig, keep_tasks
from tdss.config_file import CONFIG, checkpoint_digest, read_config

Say: TypeAlias = Callable[[str], None]


class BuildContext(NamedTuple):
    """What every stage of one build shares; ``checkpoint_sha256`` covers its configuration and its weights."""

    config: BuildConfig
    model: ModelConfig
    checkpoint_sha256: str
    target: Target
    run: RunConfig
    dataset: FolderDataset
    calibration: CalibrationSet
    evaluation: vectors.Drawn
    budgets: dict[str, float]
    folder: Path  # where the bundle is published
    say: Say


def prepare_build(config: BuildConfig, progress: Say) -> BuildContext:
    """Read and check what a build needs before any stage runs.

    Raises:
        ConfigError: the target, a task, a budget or the checkpoint's configuration is wrong.
        DatasetError: the data cannot be used, or is of other classes than the model.
        InputError: the bundle or the store cannot be written where it belongs, or the key cannot sign.
        TargetUnavailable: the target's runtime or device, or a package, is not here.
    """
    target, run = find_target(config.target), RunConfig(device=config.device, threads=config.threads)
    target.capabilities(run)
    require_packages()
    whole = read_config(config.checkpoint / CONFIG)
    model = keep_tasks(whole, config.tasks or tuple(whole.tasks))
    folder = require_outputs(config, model.name)
    budgets = budgets_of(config, whole.tasks, model.tasks, progress)
    preprocess = Preprocess(**model.image.model_dump())
    spec = load_spec(config.dataset or config.data / SPEC_FILE)
    dataset = FolderDataset(root=config.data, spec=spec, size=(preprocess.height, preprocess.width))
    dataset.require_channels(model.tasks)
    drawn = from_folder(
        config.data,
        config.calibration.split,
        config.calibration.count,
        seed=config.seed,
        preprocess=preprocess,
        policy=spec.size_policy,
    )
    for finding in drawn.findings:
        progress(f"calibration: {finding}")
    evaluation = vectors.choose_evaluation(dataset, config.evaluation, seed=config.seed, tasks=tuple(model.tasks))
    require_evaluation(dataset, evaluation.ids + evaluation.rest, model.tasks, preprocess)
    if len(evaluation.ids) < config.evaluation.count:
        progress(f"evaluation: only {len(evaluation.ids)} images of the {config.evaluation.count} asked for")
    digest = checkpoint_digest(config.checkpoint)
    return BuildContext(config, model, digest, target, run, dataset, drawn, evaluation, budgets, folder, progress)
