"""What elimination is measured on and against: each model as exported, as the module rules left it, and as elimination does.

    plain          the model as it is, exported and simplified
    elimination    plain, folded by compile/folding by what work costs ONNX Runtime
    rules          folded by every rule on modules that earlier versions had, exported and simplified

``_intel`` and ``_ort`` are folded by what work costs each runtime, after the rewrites that were measured to pay on OpenVINO and on ONNX Runtime. The rules are gone: their
graphs are taken from a folder that an earlier version of this command wrote (docs/studies/folding-cases.md says which).

Every graph is compared with ``plain`` on ONNX Runtime. The shipped model keeps its weights; all others have seeded
random ones, none of them zero.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
import typer

from bundle.base.errors import ConfigError, InputError
from bundle.base.limits import LIMITS
from bundle.base.terminal import print_answer, say
from bundle.formats.artifacts import hash_file
from bundle.tasks.preprocess import Preprocess
from calibration.image_files import ImageFiles, folder_images
from compile.evaluation.timing import Clock, Ratio, ratio, sample
from compile.folding.graph_file import fold_file
from compile.graphs.cost import graph_cost, macs_by_node, read_inferred
from compile.graphs.passes.resize_as_products import NAME as RESIZES
from compile.graphs.passes.table import apply_passes
from compile.stage.code_hash import ROOT
from compile.stage.command import run_script
from compile.stage.compare import compare, require, run_graph
from compile.stage.config import TimingConfig
from compile.stage.graph_info import GRAPH_FILE, INPUT, GraphInfo
from studies.folding.run import RUNTIMES, rewrites_of
from studies.generated_section import replace_section
from studies.runs import convert_graph
from studies.stages import simplified_module
from targets.base import Array, RunConfig, Variant
from targets.isa import cpu_isa, cpu_name, read_cpuinfo
from targets.reference.target import F32
from targets.table import target as find_target

if TYPE_CHECKING:
    from tdss.config import ModelConfig
    from tdss.model import MultiTaskModel

CASES = ROOT / "studies" / "folding" / "cases"
NAMES = ("default", "swin_static", "swin_dynamic", "mtlora", "linear", "vit", "dyngamma", "ssfpad")
PLAIN, RULES, ELIMINATION = "plain", "rules", "elimination"
SUFFIXES = {"openvino": "intel", "onnxruntime": "ort"}
PRECISIONS = (
    ("OpenVINO f32", "openvino", "f32"),
    ("OpenVINO bf16", "openvino", "bf16"),
    ("ONNX Runtime f32", "onnxruntime", "f32"),
)
SEED = 0
TITLE = "Folding: the models it is measured on"
SECTION = "written by studies.folding.eliminations"


class Case(NamedTuple):
    """A model to fold, and one image of its size."""

    config: "ModelConfig"
    model: "MultiTaskModel"
    images: ImageFiles

    @property
    def info(self) -> GraphInfo:
        """The contract of the case's graphs."""
        preprocess = Preprocess(**self.config.image.model_dump())
        return GraphInfo(io="raw", preprocess=preprocess, tasks=dict(self.config.tasks))


def graphs_of(folder: Path) -> list[str]:
    """Return the names of the graphs that a case's folder holds, in the order of the table."""
    kinds = [f"{kind}{suffix}" for kind in (RULES, ELIMINATION) for suffix in ("", "_intel", "_ort")]
    return [graph for graph in (PLAIN, *kinds) if (folder / f"{graph}.onnx").is_file()]


def case_named(name: str, scratch: Path) -> Case:
    """Make one of ``NAMES``; a random image is written below ``scratch``.

    Raises:
        ConfigError: there is no such case.
    """
    from studies.folding.graphs import config_of, write_image
    from studies.folding.models import random_model
    from tdss.checkpoint import load
    from tdss.config_file import read_config

    if name not in NAMES:
        raise ConfigError(
            f"there is no case {name!r}",
            expected=f"one of {', '.join(NAMES)}",
            got=repr(name),
            where="--case",
            fix="correct the name",
        )
    if name == "default":
        config, model = load(ROOT / "models" / "default")
        return Case(config, model, folder_images(ROOT / "data" / "scenes", "calibration").first(1))
    if name.startswith("swin_"):
        config = config_of("swin-t", "static" if name == "swin_static" else "dynamic")
    else:
        config = read_config(CASES / f"{name}.toml")
    return Case(config, random_model(config, SEED), write_image(scratch / "images", config))


def write_graphs(name: str, out: Path, rules: Path | None, *, threads: int) -> dict[str, float]:
    """Write the graphs of one case and its feed, ``image.npy``, in ``out``; return each graph's largest relative error.

    Those of the rules are copied from the folder ``rules``; None: there are none.

    Raises:
        GraphError: a graph does not compute what ``plain`` does.
        InputError: the folder has no graph of the rules for this case.
    """
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out) as scratch:
        case = case_named(name, Path(scratch))
        feed = write_plain(case, out, threads=threads)
    if rules is not None:
        _copy_rules(rules / name, out)
    for runtime, suffix in SUFFIXES.items():
        fold_file(out / f"{PLAIN}.onnx", out / f"{ELIMINATION}.onnx", None, 1, RUNTIMES[runtime], say)
        apply_passes(rewrites_of(RUNTIMES[runtime]), out / f"{ELIMINATION}.onnx", out / f"{ELIMINATION}_{suffix}.onnx")
    want = run_graph(out / f"{PLAIN}.onnx", case.info, [feed], exact=False, threads=threads)
    errors = {}
    for graph in graphs_of(out)[1:]:
        got = run_graph(out / f"{graph}.onnx", case.info, [feed], exact=False, threads=threads)
        errors[graph] = max(error.relative for error in require("rewrite", compare(got, want), dict))
    return errors


def write_plain(case: Case, out: Path, *, threads: int) -> dict[str, Array]:
    """Write the graph of a case as it is exported and simplified, and its feed, ``image.npy``, in ``out``; return the feed."""
    [(_, image)] = case.images.read()
    feed = case.info.feed(image)
    np.save(out / f"{INPUT}.npy", feed[INPUT])
    _write_simplified(case.model, case, out / f"{PLAIN}.onnx", threads)
    return feed


def _copy_rules(source: Path, out: Path) -> None:
    for graph in (RULES, *(f"{RULES}_{suffix}" for suffix in SUFFIXES.values())):
        if not (source / f"{graph}.onnx").is_file():
            raise InputError(
                f"there is no {graph}.onnx",
                expected="the graphs that an earlier version wrote",
                got="no such file",
                where=str(source),
                fix="write them as docs/studies/folding-cases.md says, or leave --rules away",
            )
        shutil.copyfile(source / f"{graph}.onnx", out / f"{graph}.onnx")


def _write_simplified(model: "MultiTaskModel", case: Case, path: Path, threads: int) -> None:
    with TemporaryDirectory(dir=path.parent) as scratch:
        found = simplified_module(model, case.config, case.images, Path(scratch), threads=threads)
        found.file(GRAPH_FILE).replace(path)


def write_all(names: Iterable[str], out: Path, rules: Path | None, *, threads: int) -> None:
    """Write the graphs of the named cases, one folder each below ``out``."""
    for name in names:
        errors = write_graphs(name, out / name, rules, threads=threads)
        say(f"{name}: " + ", ".join(f"{graph} {error:.2g}" for graph, error in errors.items()))


def case_table(names: Iterable[str], out: Path) -> str:
    """Return what every graph of the named cases costs, as a Markdown table with each file's hash."""
    lines = [
        "| model | graph | MACs (M) | of these, final resizes as products (M) | moved (MB) | parameters (M) | nodes | SHA-256 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        for graph in graphs_of(out / name):
            lines.append(_row(name, graph, out / name / f"{graph}.onnx"))
    return "\n".join(lines) + "\n"


def time_table(names: Iterable[str], out: Path, timing: TimingConfig, clock: Clock, threads: int) -> str:
    """Return what elimination takes over the rules, and what plain takes over elimination, on both runtimes, as Markdown."""
    lines = [
        f"Latency over that of another graph in one interleaved run, {clock} time, {threads} thread{'s' * (threads > 1)}, median "
        f"[quartiles] of {timing.runs} rounds, on {_machine()}.",
        "",
        "| model | runtime | elimination / rules | plain / elimination | elimination, ms |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        feed = {INPUT: np.load(out / name / f"{INPUT}.npy", allow_pickle=False)}
        for label, runtime, hint in PRECISIONS:
            lines.append(f"| {name} | {label} | {_ratios(out / name, feed, (runtime, hint), timing, clock, threads)} |")
            say(lines[-1])
    return "\n".join(lines) + "\n"


def _machine() -> str:
    cpuinfo = read_cpuinfo()
    return f"{cpu_name(cpuinfo)} ({', '.join(cpu_isa(cpuinfo))})"


def _ratios(
    folder: Path, feed: Mapping[str, Array], runtime: tuple[str, str], timing: TimingConfig, clock: Clock, threads: int
) -> str:
    target, run = find_target(RUNTIMES[runtime[0]]), RunConfig(threads=threads)
    graphs = {PLAIN: PLAIN} | {kind: f"{kind}_{SUFFIXES[runtime[0]]}" for kind in (RULES, ELIMINATION)}
    graphs = {kind: graph for kind, graph in graphs.items() if graph in graphs_of(folder)}
    with TemporaryDirectory() as scratch, ExitStack() as sessions:
        subjects: dict[str, Callable[[], object]] = {}
        for kind, graph in graphs.items():
            copy = Path(shutil.copy(folder / f"{graph}.onnx", Path(scratch) / f"{kind}.onnx"))
            recipe = F32.model_copy(update={"hint": runtime[1]})
            variant = Variant(recipe=recipe, files=convert_graph(copy, target))
            session = sessions.enter_context(target.open(copy.parent, variant, run, "auto", keep=copy.parent))
            subjects[kind] = partial(session.infer, feed)
        spent = sample(subjects, timing, clock)
    rules = _shown(ratio(spent[ELIMINATION], spent[RULES])) if RULES in spent else "–"
    return f"{rules} | {_shown(ratio(spent[PLAIN], spent[ELIMINATION]))} | {median(spent[ELIMINATION]):.1f}"


def _shown(one: Ratio) -> str:
    return f"{one.median:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _row(name: str, graph: str, path: Path) -> str:
    model = read_inferred(path)
    cost = graph_cost(model)
    resizes = sum(macs for node, macs in macs_by_node(model).items() if node.name and RESIZES in node.name)
    figures = (cost.macs / 1e6, resizes / 1e6, cost.moved / 1e6, cost.params / 1e6)
    shown = " | ".join(f"{figure:,.1f}" for figure in figures)
    return f"| {name} | {graph} | {shown} | {cost.nodes} | `{hash_file(path)[:16]}` |"


def main(
    out: Annotated[Path, typer.Option(help="The folder to write, one folder below it for each case.")],
    rules: Annotated[
        Path | None, typer.Option(help="Where an earlier version wrote the graphs of the module rules.")
    ] = None,
    case: Annotated[list[str] | None, typer.Option(help="A case; may be repeated. Default: all of them.")] = None,
    page: Annotated[Path | None, typer.Option(help="A Markdown page whose table is to be replaced.")] = None,
    threads: Annotated[
        int, typer.Option(min=0, max=LIMITS["threads"].most, help="Threads; 0: the runtime's choice.")
    ] = 1,
    rounds: Annotated[
        int, typer.Option(min=0, max=LIMITS["count"].most, help="Timed rounds; 0: only what the graphs cost.")
    ] = 11,
    clock: Annotated[Literal["wall", "cpu"], typer.Option(help="cpu where other work disturbs wall time.")] = "cpu",
) -> None:
    """Write the graphs that folding is measured on, print what they cost and how long they take.

    Example: python -m studies.folding.eliminations --out build/eliminations
    """
    if page is not None and rules is None:
        raise InputError(
            "the page holds the rows of the module rules",
            expected="--rules beside --page",
            got="no --rules",
            where="the command line",
            fix="name the folder of their graphs; docs/studies/folding-cases.md says how to write it",
        )
    names = case or NAMES
    write_all(names, out, rules, threads=threads)
    table = case_table(names, out)
    if rounds:
        table += "\n" + time_table(names, out, TimingConfig(runs=rounds, warmup=1, burst=2), clock, threads)
    if page is not None:
        replace_section(page, SECTION, table, title=TITLE)
    print_answer(table)


if __name__ == "__main__":
    run_script(main)
