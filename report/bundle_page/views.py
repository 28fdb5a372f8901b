"""What the page's template is given: frozen values whose every string is ready to print (the template escapes them)."""

from bundle.base.frozen import Frozen
from bundle.judging.verdict import Verdict
from report.bundle_page.sensitivity import SensitivityView
from report.bundle_page.tensorrt_checks import LegalView


class Headline(Frozen):
    """The box at the top. ``kind`` is a verdict's name, or "none" where nothing was judged; ``numbers`` are values and names."""

    kind: str
    mark: str
    headline: str
    sentences: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...] = ()


class TaskRow(Frozen):
    """One row of the task table; ``svg`` is markup made by report/drawing/charts.py, "" if there is nothing to draw."""

    name: str
    metric: tuple[str, str]
    reference: str
    compiled: str
    drop: str
    interval: str
    images: str
    budget: str
    sqnr: str
    verdict: Verdict
    mark: str
    svg: str


class Tick(Frozen):
    """One label of the budget chart's axis, at ``at`` percent; ``edge`` is "first", "last" or ""."""

    at: float
    text: str
    edge: str


class BenchView(Frozen):
    """How latencies were measured, or why there are none. ``load`` and ``warning`` are about the machine, or ""."""

    note: str
    load: str = ""
    warning: str = ""


class TaskCell(Frozen):
    """One task of one variant: its drop, and its verdict as a class and a mark."""

    text: str
    kind: str
    mark: str


class VariantRow(Frozen):
    """One variant, in the bundle or tried for it. ``timings``, ``files`` and ``recipe`` are names and values.

    ``tasks`` are in the order of ``Page.task_names``; ``svg`` is the bar of its latency, or "".
    """

    name: str
    shipped: bool
    outcome: str
    kind: str
    reason: str
    latency: str
    svg: str
    ratio: str
    size: str
    timings: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    recipe: tuple[tuple[str, str], ...]
    tasks: tuple[TaskCell, ...]
    isa: str


class RuleRow(Frozen):
    """All decisions of one fold rule."""

    name: str
    folded: str
    kept: str
    error: str


class LineRow(Frozen):
    """One fold decision."""

    module: str
    rule: str
    decision: str
    reason: str
    exactness: str
    params: str
    macs: str


class PartRow(Frozen):
    """What one part of the model costs before and after folding; the bars are MACs on one scale."""

    name: str
    macs: str
    params: str
    size: str
    svg: str


class PictureView(Frozen):
    """One module scope before and after elimination, as drawings."""

    scope: str
    before: str
    after: str


class FoldView(Frozen):
    """The fold tables; without rules, ``summary`` is the reason."""

    summary: str
    proof: str
    rules: tuple[RuleRow, ...]
    lines: tuple[LineRow, ...]
    parts: tuple[PartRow, ...] = ()
    picture: PictureView | None = None


class Group(Frozen):
    """A table of keys and values in the provenance."""

    title: str
    open: bool
    rows: tuple[tuple[str, str], ...]


class Picture(Frozen):
    """One picture: a ``data:`` address, what it is, and its score on this image or ""."""

    address: str
    name: str
    score: str


class Example(Frozen):
    """One image of a task, its pictures side by side; ``width`` and ``height`` in pixels."""

    rank: str
    id: str
    note: str
    width: int
    height: int
    pictures: tuple[Picture, ...]


class TaskExamples(Frozen):
    """The images of one task."""

    task: str
    metric: str
    examples: tuple[Example, ...]


class LegendEntry(Frozen):
    """A class and its colour, as CSS."""

    colour: str
    name: str


class Legend(Frozen):
    """The classes of one task."""

    task: str
    entries: tuple[LegendEntry, ...]


class ImagesView(Frozen):
    """The tasks' images, how they were chosen, and why something is not shown (or "")."""

    how: str
    reason: str
    tasks: tuple[TaskExamples, ...]
    legends: tuple[Legend, ...]
    scales: str


class FigureRow(Frozen):
    """One figure that is reported and decides no verdict."""

    task: str
    name: str
    reference: str
    compiled: str
    drop: str
    interval: str


class AgreementRow(Frozen):
    """How alike a task's answers and the reference's are; ``worst`` names images."""

    task: str
    sqnr: str
    cosine: str
    change: str
    worst: str


class ClassRow(Frozen):
    """One class of a label map: its IoU, the reference's and the compiled model's."""

    name: str
    reference: str
    compiled: str
    change: str


class TaskClasses(Frozen):
    """The classes of one task that occur."""

    task: str
    rows: tuple[ClassRow, ...]


class MeasuredView(Frozen):
    """What a judgement holds besides its verdicts; empty where there is none."""

    reasons: tuple[str, ...] = ()
    figures: tuple[FigureRow, ...] = ()
    agreement: tuple[AgreementRow, ...] = ()
    baseline: str = ""
    source: str = ""


class Page(Frozen):
    """Everything the template prints."""

    model: str
    target: str
    subtitle: str
    verdict: Headline
    banner: str
    built: str
    tasks: tuple[TaskRow, ...]
    task_names: tuple[str, ...]
    classes: tuple[TaskClasses, ...]
    measured: MeasuredView
    no_tasks: str
    delta_m: str
    ticks: tuple[Tick, ...]
    images: ImagesView
    bench: BenchView
    engine: str
    variants: tuple[VariantRow, ...]
    fold: FoldView
    sensitivity: SensitivityView
    legal: LegalView
    provenance: tuple[Group, ...]
    attribution: str
