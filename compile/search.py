"""Search: where plain INT8 breaks a task's budget, try SmoothQuant, then return the layers to float that buy the most.

    int8 on the calibration images ── every task holds ──▶ nothing to do
          │ else
    the same scheme with SmoothQuant ── every task holds ──▶ int8_smooth, all layers in INT8
          │ else (it is kept as well if it is better than int8)
    each layer's noise at each task's output (sensitivity.py)
          │  order by Σ over broken tasks of the layer's part of the noise, per multiply-accumulate
    those that fit into ``limit`` of the MACs, then by bisection the shortest prefix of them that holds

Only calibration images are asked: those that judge the bundle never choose its layers. A model may have been trained on
its calibration images, and there are few of them, so a task *holds* only if its drop's interval lies within ± ``margin``
of its budget, in both directions: an improvement is as much a sign of noise as a drop. A task that none of these images has a
label for, or whose metric is 0 in float, has no say: no layer could mend it. The minimum of images that a verdict needs is
not asked for: what is found here is judged on others, and the outcome names the tasks with fewer. Where a metric is too noisy for
that on so few images, whatever the graph, the next best is asked for: that the rule which judges the bundle passes every
task on them; failing that, that the drop itself is within ± ``margin`` where the images cannot tell. What is found is one
more variant, ``int8_mixed``, made from plain INT8; the judgement and the device decide which is shipped.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeAlias

import onnx_ir as ir
from pydantic import JsonValue, ValidationError

from bundle.artifacts import Quantized, Simplified, hash_file, load, write_text
from bundle.dataset import FolderDataset
from bundle.errors import ArtifactError, GraphError
from bundle.frozen import Frozen, faults
from bundle.verdict import MINIMUM_IMAGES
from calibration.sampling import CalibrationSet
from compile.calibrate import Question, calibrate
from compile.config import SearchConfig
from compile.graph import GRAPH_FILE, graph_info
from compile.layers import layers_of, read_macs
from compile.passes.table import apply_passes
from compile.quantize import Job, ranges_for, scheme_of, variants_of, write_quantized
from compile.ranges import Range
from compile.sensitivity import LayerSensitivity, Subject, costliest, measure_layers
from compile.sources import code_hash
from compile.store import seal, tool_versions, writing
from compile.trial import Standing, Trial, labelled, without_labels
from compile.verify import open_graph
from targets.base import RunConfig, Target, Variant, VariantRecipe
from targets.scheme import smoothed

TOOLS = ("nncf", "onnx", "onnx-ir", "openvino", "onnxruntime", "numpy")
SENSITIVITY = "sensitivity.json"
PLAIN, SMOOTH, MIXED = "int8", "int8_smooth", "int8_mixed"
BISECTIONS = 3
NAME_LENGTH = 16
NEAR = 1
Found: TypeAlias = tuple[Variant, dict[str, JsonValue]]  # a variant and what there is to say about it


class Step(Frozen):
    """One graph that was tried: how many layers were in float, their share of the MACs, SmoothQuant or not, how each task stood.

    ``held``: every interval lies within ± ``margin`` of its budget; ``passed``: every task's verdict is a pass; ``near``:
    every task passes, or its drop alone lies within ± ``margin`` of its budget while the images cannot tell.
    """

    returned: int
    macs_share: float
    tasks: dict[str, Standing]
    held: bool
    passed: bool = False  # these two are not in files of before 0603
    near: bool = False
    smooth: bool = False

    @property
    def level(self) -> int:
        """How good it is: 3 held, 2 passed, 1 near, 0 none of these."""
        return 3 if self.held else 2 if self.passed else int(self.near)


class SearchReport(Frozen):
    """What ``sensitivity.json`` holds: why there is a mixed or smoothed graph or none, which layers are in float, what each costs.

    ``images`` are those each layer was measured on, ``trial_images`` those each graph of ``steps`` was tried on.
    """

    schema_version: int = 1
    outcome: str
    images: int
    trial_images: int
    config: SearchConfig
    budgets: dict[str, float]
    never_quantized_share: float
    steps: tuple[Step, ...]
    returned: tuple[str, ...]
    layers: tuple[LayerSensitivity, ...]


class Terms(NamedTuple):
    """What a search is asked: the labelled folder of the calibration images, the budgets, how far to go."""

    dataset: FolderDataset
    budgets: dict[str, float]
    seed: int
    config: SearchConfig


def search(
    quantized: Quantized, simplified: Simplified, calibration: CalibrationSet, out: Path, target: Target, run: RunConfig,
    terms: Terms, *, cache: Path, progress: Callable[[str], None],
) -> Quantized:  # fmt: skip
    """Write a ``Quantized`` artifact in ``out``: all of ``quantized``, sensitivity.json, and where plain INT8 breaks a
    budget a smoothed graph, a mixed one, or both.

    Raises:
        DatasetError: an image or label of the calibration split is wrong.
        GraphError: a graph cannot be made.
        TargetUnavailable: a runtime is missing.
    """
    settings = dict(quantized.record.settings)
    with writing(out, Quantized) as folder:
        for name in quantized.record.files:
            shutil.copyfile(quantized.file(name), folder / name)
        job = Job(simplified.file(GRAPH_FILE), graph_info(simplified), calibration, folder, target, run, cache)
        report, found = _search(quantized, job, terms, progress)
        variants = (*variants_of(quantized), *(variant for variant, _ in found))
        settings["variants"] = [one.model_dump(mode="json") for one in variants]
        for variant, note in found:
            settings["notes"] = _extend(settings["notes"], variant.recipe.name, note)
        write_text(folder / SENSITIVITY, report.model_dump_json(indent=1) + "\n")
        seal(
            Quantized, folder, parent=quantized.sha256, inputs=quantized.record.inputs, outputs=quantized.record.outputs,
            settings=settings | {"search": report.outcome}, tools=tool_versions(*TOOLS),
        )  # fmt: skip
    return load(Quantized, out)


def read_sensitivity(path: Path) -> SearchReport:
    """Read ``sensitivity.json``.

    Raises:
        ArtifactError: it holds something else.
    """
    try:
        return SearchReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ArtifactError(
            f"{path.name} cannot be read", expected="what the search of this version writes", got=faults(error),
            where=str(path), fix="build the bundle again",
        ) from error  # fmt: skip


def describe_costs(path: Path, tasks: Sequence[str]) -> list[str]:
    """Say for each task which layers make most of its noise, from a bundle's ``sensitivity.json``; nothing if unmeasured."""
    rows = read_sensitivity(path).layers if path.is_file() else ()
    return [
        f"  {name}: its noise comes from "
        + ", ".join(f"{layer} {part:.0%}" for layer, part in costliest(rows, name, 3))
        for name in tasks
        if rows
    ]


def order_layers(rows: Sequence[LayerSensitivity], tasks: Sequence[str]) -> tuple[LayerSensitivity, ...]:
    """Return the layers in the order in which their return to float buys most for ``tasks`` per multiply-accumulate.

    A layer's gain is its part of all layers' noise at a task's output, summed over the tasks.
    """
    totals = {name: sum(row.noise(name) for row in rows) or 1.0 for name in tasks}

    def gain(row: LayerSensitivity) -> float:
        return sum(row.noise(name) / totals[name] for name in tasks) / max(row.macs_share, 1e-9)

    return tuple(sorted(rows, key=lambda row: (-gain(row), row.name)))


def affordable(rows: Sequence[LayerSensitivity], share: float) -> tuple[LayerSensitivity, ...]:
    """Return the layers, in their order, that together have at most ``share`` of the MACs; one that is too large is left out."""
    total, kept = 0.0, list[LayerSensitivity]()
    for row in rows:
        if total + row.macs_share <= share:
            total += row.macs_share
            kept.append(row)
    return tuple(kept)


def broken(tasks: Mapping[str, Standing], budgets: Mapping[str, float], margin: float) -> tuple[str, ...]:
    """Return the tasks whose interval is not within ± ``margin`` of the budget, but for those that are undefined."""
    return tuple(
        name
        for name, one in tasks.items()
        if one.defined and not all(abs(end) <= margin * budgets[name] for end in one.interval)
    )


def shortest(longest: int, attempt: Callable[[int], Step], plain: int) -> tuple[Step, ...]:
    """Try the longest prefix; if it is better than ``plain``, plain INT8's level, bisect for the shortest as good.

    A longest one that is only near is kept: shorter ones would be told apart by noise. Returns the steps, the best one last.
    """
    steps = [attempt(longest)]
    best, low, high = steps[0], 0, longest
    for _ in range(BISECTIONS):
        if steps[0].level <= max(plain, NEAR) or high - low < 2:
            break
        middle = (low + high) // 2
        steps.append(attempt(middle))
        if steps[-1].level >= steps[0].level:
            best, high = steps[-1], middle
        else:
            low = middle
    return (*(step for step in steps if step is not best), best)


def journal_name(target: str, graph: Path, trial: Trial) -> str:
    """Name the journal of a measurement after all its rows depend on: the graph as it is measured, images, labels, code."""
    asked = (hash_file(graph), trial.sha256, code_hash("compile.sensitivity"))
    digest = hashlib.sha256("\n".join(asked).encode()).hexdigest()
    return f"sensitivity-{target}-{digest[:NAME_LENGTH]}.jsonl"


def _search(
    quantized: Quantized, job: Job, terms: Terms, progress: Callable[[str], None]
) -> tuple[SearchReport, tuple[Found, ...]]:
    plain = next((one for one in variants_of(quantized) if one.recipe.name == PLAIN), None)
    missing = without_labels(terms.dataset, job.calibration.ids, tuple(job.info.tasks))
    if plain is None or missing or not terms.config.enabled:
        reason = "there is no INT8 graph" if plain is None else _no_labels(missing, len(job.calibration.ids))
        return _report(terms, "not searched: " + ("switched off" if not terms.config.enabled else reason)), ()
    trial = Trial(labelled(terms.dataset, job.calibration.ids, job.info), job.info, terms.budgets, terms.seed)
    with open_graph(job.source, exact=False, threads=job.run.threads) as session:
        trial.set_reference(session.infer)
    first = _try(job, plain, trial, terms)
    if first.held:
        outcome = f"not needed: every task holds in plain INT8{_unknown(first)}"
        return _report(terms, outcome, trial=trial, steps=(first,)), ()
    failing = broken(first.tasks, terms.budgets, terms.config.margin)
    progress(f"search: INT8 does not hold {', '.join(failing)} on the calibration images")
    ranges = ranges_for(job, (plain.recipe,))
    before, found = [first], list[Found]()
    with TemporaryDirectory(prefix=".smooth.", dir=job.folder) as scratch:
        inner = job._replace(folder=Path(scratch))
        tried = _smooth(inner, plain.recipe, ranges, trial, terms, progress)
        if tried is not None:
            before.append(tried[1])
            if tried[1].level > first.level:
                found.append(_taken(tried[0], inner.folder, job.folder))
    if before[-1].held:
        outcome = f"SmoothQuant, no layer in float: {_words(before[-1], terms)}"
        return _report(terms, outcome, trial=trial, steps=tuple(before)), tuple(found)
    report, mixed = _mix(job, plain.recipe, ranges, trial, terms, tuple(before), progress)
    return report, (*found, *(() if mixed is None else (mixed,)))


def _smooth(
    job: Job, plain: VariantRecipe, ranges: tuple[Range, ...], trial: Trial, terms: Terms,
    progress: Callable[[str], None],
) -> tuple[Found, Step] | None:  # fmt: skip
    """Write and try the graph with SmoothQuant; None where it cannot be made."""
    recipe = plain.model_copy(
        update={"name": SMOOTH, "reason": "INT8 with SmoothQuant, where plain INT8 breaks a task's budget"}
    )
    try:
        found = write_quantized(recipe, job, ranges, smoothed(scheme_of(job)))
    except GraphError as error:
        progress(f"search: without SmoothQuant, for it cannot be done here: {error.got}")
        return None
    step = _try(job, found[0], trial, terms, smooth=True)
    progress(f"search: with SmoothQuant {_words(step, terms)}")
    return found, step


def _taken(found: Found, scratch: Path, folder: Path) -> Found:
    """Copy a variant's files from where it was tried."""
    for name in found[0].files:
        shutil.copyfile(scratch / name, folder / name)
    return found


def _mix(
    job: Job, plain: VariantRecipe, ranges: tuple[Range, ...], trial: Trial, terms: Terms, before: tuple[Step, ...],
    progress: Callable[[str], None],
) -> tuple[SearchReport, Found | None]:  # fmt: skip
    """Return layers of the plain graph to float, None if not one fits; ``before`` are the plain graph's step and, if there is one, the smoothed one's."""
    first = before[0]
    rows, never = _sensitivities(job, trial, terms, progress)
    failing = broken(first.tasks, terms.budgets, terms.config.margin)
    ordered = affordable(order_layers(rows, failing), terms.config.limit - never)
    if not ordered:
        outcome = f"{_words(first, terms)}; no layer fits into {terms.config.limit:.1%} of the MACs, {never:.1%} are in float already"
        return _report(terms, outcome, trial=trial, steps=before, rows=rows, never=never), None
    recipe = plain.model_copy(
        update={"name": MIXED, "graph": "mixed", "reason": "INT8, and in float the layers that cost a task most"}
    )
    kept: dict[int, tuple[Found, Path]] = {}
    with TemporaryDirectory(prefix=".mixed.", dir=job.folder) as scratch:

        def attempt(count: int) -> Step:
            folder = Path(scratch) / str(count)
            folder.mkdir()
            names = frozenset(row.name for row in ordered[:count])
            inner = job._replace(folder=folder)
            kept[count] = (write_quantized(recipe, inner, ranges, scheme_of(job), names), folder)
            share = sum(row.macs_share for row in ordered[:count])
            step = _try(inner, kept[count][0][0], trial, terms, returned=count, share=share)
            progress(f"search: {count} layers in float, {share:.1%} of the MACs: {_words(step, terms)}")
            return step

        steps = shortest(len(ordered), attempt, first.level)
        best = steps[-1]
        mixed = _taken(*kept[best.returned], job.folder)
    outcome = f"{best.returned} layers with {best.macs_share:.1%} of the MACs in float; {_words(best, terms)}"
    names = tuple(row.name for row in ordered[: best.returned])
    report = _report(terms, outcome, trial=trial, steps=(*before, *steps), rows=rows, returned=names, never=never)
    return report, mixed


def _sensitivities(
    job: Job, trial: Trial, terms: Terms, progress: Callable[[str], None]
) -> tuple[tuple[LayerSensitivity, ...], float]:
    """Measure every layer of the calibrated graph as the target's passes leave it; and the share never quantized."""
    question = Question(job.source, job.info, job.calibration, scheme_of(job), "onnx")
    calibrated = calibrate(question, job.cache)
    macs = read_macs(job.source)
    with TemporaryDirectory(prefix=".sensitivity.", dir=job.folder) as scratch:
        graph = Path(scratch) / GRAPH_FILE
        passes = job.target.passes if job.target.graph_format == "onnx" else ()
        apply_passes(passes, calibrated, graph)
        layers = layers_of(ir.load(graph), macs)
        subject = Subject(graph, job.source, trial.first(terms.config.images), threads=job.run.threads)
        journal = calibrated.with_name(journal_name(job.target.name, graph, subject.trial))
        rows = measure_layers(subject, layers, sum(macs.values()), journal, progress)
    return rows, 1.0 - sum(layer.macs for layer in layers) / sum(macs.values())


def _try(
    job: Job,
    variant: Variant,
    trial: Trial,
    terms: Terms,
    *,
    returned: int = 0,
    share: float = 0.0,
    smooth: bool = False,
) -> Step:
    with job.target.open(job.folder, variant, job.run, "auto", keep=job.folder) as session:
        tasks = trial.stand(trial.measure(session.infer))
    held = not broken(tasks, terms.budgets, terms.config.margin)
    known = {name: one for name, one in tasks.items() if one.defined}
    passed = all(one.verdict == "pass" for one in known.values())
    near = all(_near(one, terms.config.margin * terms.budgets[name]) for name, one in known.items())
    return Step(returned=returned, macs_share=share, tasks=tasks, held=held, passed=passed, near=near, smooth=smooth)


def _near(one: Standing, within: float) -> bool:
    return one.verdict == "pass" or (one.verdict == "inconclusive" and abs(one.drop) <= within)


def _words(step: Step, terms: Terms) -> str:
    return _outcome(step, terms) + _unknown(step)


def _unknown(step: Step) -> str:
    """Say which tasks these images say nothing about, and which have fewer images than a verdict needs."""
    names = ", ".join(name for name, one in step.tasks.items() if not one.defined)
    thin = ", ".join(f"{name} {one.labelled_images}" for name, one in step.tasks.items() if one.thin)
    undefined = f"; undefined on these images: {names}" if names else ""
    return undefined + (f"; on fewer than {MINIMUM_IMAGES} labelled images, which show little: {thin}" if thin else "")


def _outcome(step: Step, terms: Terms) -> str:
    if step.held:
        return "every task holds"
    close = ", ".join(broken(step.tasks, terms.budgets, terms.config.margin))
    if step.passed:
        return f"every task holds its budget, but not {terms.config.margin:.0%} of it: {close}"
    failing = ", ".join(name for name, one in step.tasks.items() if one.defined and one.verdict != "pass")
    if step.near:
        return f"every task holds as far as these images tell, which is too few to be sure of: {failing}"
    return f"not held: {failing}"


def _no_labels(missing: Sequence[str], count: int) -> str:
    return f"{len(missing)} of {count} calibration images lack a label; with labels the search knows what a layer costs"


def _extend(notes: JsonValue, name: str, note: dict[str, JsonValue]) -> JsonValue:
    return {**notes, name: note} if isinstance(notes, dict) else {name: note}


def _report(
    terms: Terms, outcome: str, *, trial: Trial | None = None, steps: tuple[Step, ...] = (), never: float = 0.0,
    rows: tuple[LayerSensitivity, ...] = (), returned: tuple[str, ...] = (),
) -> SearchReport:  # fmt: skip
    return SearchReport(
        outcome=outcome, images=terms.config.images if rows else 0, config=terms.config, budgets=terms.budgets,
        trial_images=0 if trial is None else len(trial.samples),
        never_quantized_share=never, steps=steps, returned=returned, layers=rows,
    )  # fmt: skip
