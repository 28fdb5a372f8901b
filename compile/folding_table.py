"""docs/folding.md: every fold with its algebra in short and what it saves on a model, made again by one command."""

if not __package__:
    import _path  # noqa: F401

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bundle.limits import LIMITS
from bundle.outputs import marked, overwrite, require_file
from bundle.terminal import print_answer, say
from compile.bench import measure
from compile.bench_rewrites import Bench, open_graph, simplified_module
from compile.config import FoldOptions, TimingConfig
from compile.graph import GRAPH_FILE, graph_info
from compile.images import ImageFiles, folder_images
from compile.passes.table import apply_passes
from compile.script import run_script
from targets.base import RunConfig
from targets.table import target as find_target

if TYPE_CHECKING:
    from torch import Tensor

    from bundle.fold import FoldPart, FoldRecord
    from compile.fold import Folding
    from compile.folds.cost import Cost
    from tdss.model import MultiTaskModel


MAKER = "python compile/folding_table.py"
TABLES = marked(f"Made by `{MAKER}".encode())  # what the page may be written over
SUBSETS = (("semseg", "depth"), ("normals",))
"""Tasks that are asked for in the page's examples, where the model has them."""


class Subset(NamedTuple):
    """A build of some tasks only: its folded model and cost, and how far its float64 outputs are from the whole build's."""

    tasks: tuple[str, ...]
    model: "MultiTaskModel"
    cost: "Cost"
    relative: float


class Algebra(NamedTuple):
    """What a rule does, in one line of mathematics, and when it does not."""

    rule: str
    identity: str
    refused: str


ALGEBRA = (
    Algebra("training_only", "x + mask/(1−p) ⊙ f(x) → x + f(x)", ""),
    Algebra("static_value", "V = 0, or the norm before it is 0: g(x) → a constant", "any weight is not zero"),
    Algebra("dead_skills", "A_e = 0, B_e = 0 or g_t,e = 0 for every task: skill e leaves the sum", "tiny is not zero"),
    Algebra("low_rank", "(W + s·B·A) x → W' x, multiplied in float64", "B·A reads another input than W"),
    Algebra("scale_shift", "γ ⊙ (W x + b) + β → (diag(γ)W) x + (γ ⊙ b + β)", ""),
    Algebra("attention_scale", "(s·(W_q n)) · k → ((s·W_q) n) · k", "the scale is 1"),
    Algebra("layer_scale", "λ ⊙ (W x + b) → (diag(λ)W) x + λ ⊙ b", ""),
    Algebra("layer_norm", "W (w ⊙ n̂ + β) + b → (W diag(w)) n̂ + (b + Wβ), for all readers at once",
            "padded windows; new biases larger than what is freed; the residual stream"),
    Algebra("compose", "P_t (G + Σ α B_l(ĝ ⊙ u_l) + γ_t ⊙ W_c[G; mean D]) → M_t,G G + Σ M_t,l u_l",
            "it would add MACs or bytes"),
    Algebra("linear_skills", "M (A n) → (M A) n, σ = none", "the product has more entries; the gate is dynamic"),
    Algebra("merged_downsampler", "P_t (R n̂) → (P_t R) n̂ on a task's own path", "it would add MACs or bytes"),
    Algebra("batch_norm", "a ⊙ (W x − μ) + β → (diag(a)W) x + (β − a ⊙ μ)", ""),
    Algebra("task_subset", "what only tasks that were not asked for need is gone", "opt-in: tasks="),
    Algebra("freeze_gate", "g_t(x) → its mean; an approximation", "opt-in; it breaks a task's budget"),
    Algebra("drop_skills", "skills whose mean weight is below 0.02 for every task leave; an approximation",
            "opt-in; it breaks a task's budget"),
)  # fmt: skip


def subset(model: "MultiTaskModel", whole: "MultiTaskModel", batch: "Tensor", tasks: tuple[str, ...]) -> Subset:
    """Fold ``model`` for ``tasks`` only and compare it with ``whole``, folded for all, in float64."""
    from compile.folds.cost import trace_cost
    from compile.module_folds import compare, restrict, rewrite, run

    small, _ = rewrite(restrict(model, tasks, batch.shape)[0], batch.shape, mode="all")
    errors = compare(run(whole, batch.double()), run(small, batch.double()))
    return Subset(tasks, small, trace_cost(small, batch.shape).total, max(error.relative for error in errors.values()))


def milliseconds(models: "Sequence[MultiTaskModel]", images: ImageFiles, *, threads: int) -> list[float]:
    """Return each folded model's median latency on OpenVINO in float32, rewritten for it, all in one interleaved run."""
    target, run = find_target("intel"), RunConfig(threads=threads)
    bench = Bench(target, run, TimingConfig(burst=3), "wall")
    rewrites = target.rewrites(target.capabilities(run))
    [(name, image)] = images.first(1).read()
    with TemporaryDirectory() as scratch, ExitStack() as sessions:
        subjects = {}
        for number, model in enumerate(models):
            made = simplified_module(model.float(), model.config, images, Path(scratch) / str(number), threads=threads)
            path = Path(scratch) / f"{number}.onnx"
            apply_passes(rewrites, made.file(GRAPH_FILE), path)
            session, feed = sessions.enter_context(open_graph(path, bench)), graph_info(made).feed(image, name=name)
            subjects[str(number)] = partial(session.infer, feed)
        return list(measure(subjects, bench.timing).values())


def table(
    done: "Folding", parts: "Sequence[FoldPart]", subsets: "Sequence[Subset]", times: Sequence[float], command: str
) -> str:
    """Return the page as Markdown; ``times`` are the milliseconds of the whole folded model and of each subset's."""
    from compile.stored import total

    lines = [
        "# What is folded", "",
        f"Made by `{command}`; do not edit. Model: `{done.config.name}`, {done.config.image.height}×"
        f"{done.config.image.width}, one image. MACs are those of PyTorch's counter; bytes are what every operator reads and "
        "writes as float32 before a runtime fuses anything (compile/folds/cost.py). Each rule's algebra is proven in its own "
        "file and test; `tdss fold MODEL --explain` lists every module.", "",
        "| rule | before → after | not where | taken | kept | MACs | bytes moved | parameters |",
        "|---|---|---|---|---|---|---|---|",
        *(_rule(entry, [line for line in done.records if line.rule == entry.rule]) for entry in ALGEBRA), "",
        f"**Proof** on {done.proof.images} real images: the largest max|a−b| / max|b| of any output is "
        f"{max(done.proof.float64.values()):.1e} in float64 and {max(done.proof.float32.values()):.1e} in float32.", "",
        "| output | float64 max abs | float64 relative | float32 max abs | float32 relative |", "|---|---|---|---|---|",
        *(_output(done, task) for task in done.proof.float64), "",
        "## By part", "", "| part | MACs | MB moved | parameters |", "|---|---|---|---|",
        *(_part(part) for part in (*parts, total(parts))), "",
        "Composing moves the downsamplers from the decoders into the adapter's stages, and stacks the tasks' matrices: the "
        "adapter's parameters may rise where its MACs and bytes fall.", "",
        "## Task subsets", "", "`make target=intel tasks=semseg,depth`, `tdss pipeline --tasks`, `tdss fold --tasks`; against "
        "the folded build of every task. Milliseconds: OpenVINO in float32 on two threads of the machine that made this page, "
        "medians of one interleaved run.", "",
        "| tasks | MACs | MB moved | parameters | ms | relative difference of the kept outputs, float64 |",
        "|---|---|---|---|---|---|",
        *(_subset(one, total(parts), times[0], ms) for one, ms in zip(subsets, times[1:], strict=True)), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _rule(entry: Algebra, lines: "Sequence[FoldRecord]") -> str:
    folded = [line for line in lines if line.decision == "folded"]
    saved = (
        tuple(_change(sum(_by(line, name) for line in folded)) for name in ("macs", "bytes", "params"))
        if folded
        else ("", "", "")
    )
    counts = (str(len(folded)), str(len(lines) - len(folded)))
    return "| " + " | ".join([f"`{entry.rule}`", entry.identity, entry.refused, *counts, *saved]) + " |"


def _by(line: "FoldRecord", name: str) -> int:
    return int(getattr(line, f"{name}_after")) - int(getattr(line, f"{name}_before"))


def _output(done: "Folding", task: str) -> str:
    proof = done.proof
    numbers = (proof.float64_max_abs[task], proof.float64[task], proof.float32_max_abs[task], proof.float32[task])
    return f"| {task} | " + " | ".join(f"{number:.1e}" for number in numbers) + " |"


def _part(part: "FoldPart") -> str:
    return (
        f"| {part.part} | {part.macs_before / 1e6:.1f} → {part.macs_after / 1e6:.1f} M | "
        f"{part.bytes_before / 1e6:.1f} → {part.bytes_after / 1e6:.1f} | "
        f"{part.params_before / 1e3:.1f} → {part.params_after / 1e3:.1f} k |"
    )


def _subset(one: Subset, whole: "FoldPart", before: float, after: float) -> str:
    cost = one.cost
    return (
        f"| {', '.join(one.tasks)} | {whole.macs_after / 1e6:.0f} → {cost.macs / 1e6:.0f} M | "
        f"{whole.bytes_after / 1e6:.0f} → {cost.moved / 1e6:.0f} | "
        f"{whole.params_after / 1e6:.2f} → {cost.params / 1e6:.2f} M | {before:.1f} → {after:.1f} | {one.relative:.1e} |"
    )


def _change(value: int) -> str:
    if value == 0:
        return "0"
    size, unit = next((size, unit) for size, unit in ((1e6, " M"), (1e3, " k"), (1, "")) if abs(value) >= size)
    return f"{'−' if value < 0 else '+'}{abs(value) / size:.3g}{unit}"


def main(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint folder.")] = Path("models/default"),
    images: Annotated[Path, typer.Option(help="A labelled folder, or a folder of images.")] = Path("data/scenes"),
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: standard output.")] = None,
    split: Annotated[str, typer.Option(help="The split of a labelled folder.")] = "calibration",
    count: Annotated[int, typer.Option(min=1, max=LIMITS["count"].most, help="How many images the proof uses.")] = 2,
) -> None:
    """Write what every fold does and what it saves on a checkpoint, as Markdown.

    Example: python compile/folding_table.py models/default --out docs/folding.md
    """
    from compile.fold import fold_checkpoint, read_batch
    from compile.folds.cost import trace_cost
    from compile.module_folds import Traced, part_costs

    if out is not None:
        require_file(out, TABLES, [checkpoint, images])
    chosen = folder_images(images, split).first(count)
    done = fold_checkpoint(checkpoint, chosen, FoldOptions(), ImageFiles(paths=()), say)
    shape = (1, 3, done.config.image.height, done.config.image.width)
    before, after = (Traced(model, trace_cost(model, shape)) for model in (done.original, done.folded))
    batch = read_batch(done.config, chosen.first(1))
    wanted = [tasks for tasks in SUBSETS if set(tasks) <= set(done.config.tasks)]
    subsets = [subset(done.original, done.folded, batch, tasks) for tasks in wanted]
    say("timing the builds of some tasks")
    times = milliseconds([done.folded, *(one.model for one in subsets)], chosen, threads=2)
    text = table(done, part_costs(before, after), subsets, times, f"{MAKER} {checkpoint} --out docs/folding.md")
    if out is None:
        print_answer(text)
    else:
        overwrite(out, text, TABLES)


if __name__ == "__main__":
    run_script(main)
