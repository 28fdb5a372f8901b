"""Open a build: read and check what it needs before any stage runs."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bundle.tasks.dataset import FolderDataset
from calibration.sampling import CalibrationSet, from_folder
from compile.evaluation import vectors
from compile.evaluation.preflight import budgets_of, require_evaluation, require_outputs, require_packages
from compile.evaluation.subject import Subject, open_subject
from compile.stage.config import BuildConfig
from compile.stage.machine import Machine
from compile.stage.parts import Spread
from compile.stage.store import STORE, Root, open_store
from targets.base import RunConfig, Target
from targets.table import target as find_target

Say: TypeAlias = Callable[[str], None]


class BuildContext(NamedTuple):
    """What every stage of one build shares."""

    config: BuildConfig
    subject: Subject
    target: Target
    run: RunConfig
    dataset: FolderDataset
    calibration: CalibrationSet
    evaluation: vectors.Drawn
    budgets: dict[str, float]
    folder: Path  # where the bundle is published
    store: Root  # where the stages' artifacts are
    machine: Machine  # the lock of the builds that share it
    spread: Spread
    say: Say


def prepare_build(config: BuildConfig, progress: Say) -> BuildContext:
    """Read and check what a build needs before any stage runs.

    Raises:
        ConfigError: the target, a task, a budget or the checkpoint's configuration is wrong.
        DatasetError: the data cannot be used, or is of other classes than the model.
        InputError: the bundle or the store cannot be written where it belongs, or the key cannot sign.
        TargetUnavailable: the target's runtime or device, or a package, is not here.
    """
    machine = Machine(config.machine)
    with machine.working():
        return _prepare(config, machine, progress)


def _prepare(config: BuildConfig, machine: Machine, progress: Say) -> BuildContext:
    target, run = find_target(config.target), RunConfig(device=config.device, threads=config.threads)
    target.capabilities(run)
    require_packages(config.workers)
    subject = open_subject(config)
    folder = require_outputs(config, subject.name, subject.path)
    budgets = budgets_of(config, subject.known, subject.tasks, progress, subject.unlabelled)
    preprocess = subject.preprocess
    dataset = FolderDataset(root=config.data, spec=subject.spec, size=(preprocess.height, preprocess.width))
    dataset.require_channels(subject.tasks)
    if subject.unlabelled:
        progress(f"no labels: {', '.join(subject.unlabelled)}; judged by agreement with the network as it was given")
    drawn = from_folder(
        config.data,
        config.calibration.split,
        config.calibration.count,
        seed=config.seed,
        preprocess=preprocess,
        policy=subject.spec.size_policy,
    )
    for finding in drawn.findings:
        progress(f"calibration: {finding}")
    evaluation = vectors.choose_evaluation(dataset, config.evaluation, seed=config.seed, tasks=subject.labelled)
    require_evaluation(dataset, evaluation.ids + evaluation.rest, subject.labelled, preprocess)
    if len(evaluation.ids) < config.evaluation.count:
        progress(f"evaluation: only {len(evaluation.ids)} images of the {config.evaluation.count} asked for")
    store = open_store(config.store, config.out / STORE)
    spread = Spread(store, config.workers)
    return BuildContext(
        config, subject, target, run, dataset, drawn, evaluation, budgets, folder, store, machine, spread, progress
    )
