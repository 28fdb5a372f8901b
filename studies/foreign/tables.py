"""The table of docs/studies/foreign.md: a row for each network and target."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bundle.judging import wording
from studies.bundle_cells import measured, milliseconds, table, verdict, worst_drops
from studies.bundle_files import Made
from studies.foreign.networks import Network

HEAD = ("network", "file", "target", "verdict", "tasks", "INT8, largest drop", "ships", "ms", "kernels", "s")


class Result(NamedTuple):
    """A network, and its bundles by target: or why there is none."""

    network: Network
    bundles: Mapping[str, Made | str]

    @property
    def refused(self) -> tuple[str, ...]:
        """The targets without a bundle."""
        return tuple(target for target, made in self.bundles.items() if isinstance(made, str))

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that shipped variants failed, over all bundles."""
        made = [one for one in self.bundles.values() if isinstance(one, Made)]
        return tuple(text for one in made for text in one.failed)


def markdown(results: Sequence[Result], command: str) -> str:
    """Return what was measured where, and the table."""
    made = [one for result in results for one in result.bundles.values() if isinstance(one, Made)]
    rows = [_row(result.network, target, found) for result in results for target, found in result.bundles.items()]
    return "\n\n".join([measured(made, command), table(HEAD, rows)])


def _row(network: Network, target: str, made: Made | str) -> list[str]:
    start = [network.name, f"{network.file.rpartition('.')[2]}, {network.origin}", target]
    if isinstance(made, str):
        return [*start, made, *[""] * (len(HEAD) - len(start) - 1)]
    return [
        *start,
        verdict(made),
        _tasks(made),
        worst_drops(made.report),
        made.manifest.shipped,
        milliseconds(made),
        _kernels(made),
        f"{made.seconds:.0f}",
    ]


def _tasks(made: Made) -> str:
    """Return what each task has under its metric: of the reference, and of what ships."""
    cells = []
    for name, found in made.report.tasks.items():
        values = [wording.metric_value(found.metric, value) for value in (found.reference, found.compiled)]
        told = values[1] if found.metric == "agreement" else " → ".join(values)
        cells.append(f"{name}: {wording.metric_name(found.metric)} {told}")
    return "; ".join(cells)


def _kernels(made: Made) -> str:
    """Return the kernels of NVIDIA's plan for the graph that ships; why there are none, of a graph for TensorRT."""
    if made.lint is None:
        return ""
    if made.plan is None:
        return "no proof" if made.proof is None else f"{made.proof.status}: {made.proof.reason}"
    return str(made.plan.kernels)
