"""Study: the table of docs/studies/foreign.md, from seven networks that are not ours; a killed run goes on.

    python -m studies.foreign.run --only dpt

Every network is made (studies/foreign/networks.py) and taken through ``tdss pipeline --network`` for each target, and the table
is made from what the commands left.
"""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.errors import InputError, RegressionFailed
from bundle.base.limits import LIMITS
from bundle.base.terminal import print_answer, say
from bundle.formats.outputs import require_container
from bundle.tasks.dataset import SPEC_FILE
from compile.stage.command import run_script
from studies.bundle_files import read_bundle
from studies.command_journal import run_job
from studies.foreign.jobs import TARGETS, Terms, build_job, job_key, make_files
from studies.foreign.networks import NETWORKS, Network, Sources
from studies.foreign.tables import Result, markdown
from studies.generated_section import replace_section

SECTION, TITLE = "written by studies.foreign.run", "Networks of other people"
IMAGES = 40
MOST_REFUSED = 1  # of the networks, for a target


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Run this network; may be repeated. The table has all. Default: all.")
    ] = None,
    data: Annotated[Path, typer.Option(help="The labelled folder that calibrates and judges.")] = Path("data/scenes"),
    train: Annotated[
        Path | None,
        typer.Option(help="Fit two networks again, on this labelled folder. Default: their shipped weights."),
    ] = None,
    train_split: Annotated[str, typer.Option(help="Its split.")] = "train",
    wheels: Annotated[Path, typer.Option(help="The folder of the wheel.")] = Path("build/foreign/wheels"),
    weights: Annotated[Path, typer.Option(help="The folder of the two networks' fitted weights.")] = Path(
        "models/foreign"
    ),
    out: Annotated[Path, typer.Option(help="For networks, bundles, journals and the stage store.")] = Path(
        "build/foreign"
    ),
    page: Annotated[Path, typer.Option(help="The page whose table is replaced.")] = Path("docs/studies/foreign.md"),
    evaluation_count: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="How many images of val judge each bundle.")
    ] = IMAGES,
    search: Annotated[
        bool, typer.Option("--search", help="Repair INT8 where it breaks a budget: minutes more a network.")
    ] = False,
    draw: Annotated[bool, typer.Option("--draw", help="Run nothing: make the table of what is there.")] = False,
) -> None:
    """Build each network for two targets, and write the table.

    Example: python -m studies.foreign.run --only dpt
    """
    terms = Terms(Sources(data / SPEC_FILE, wheels, weights, train, train_split), data, evaluation_count, out, search)
    chosen = choose(tuple(only or ()))
    require_container(out)
    for network in () if draw else chosen:
        make_files(network, terms, say)
        for target in TARGETS:
            job = build_job(network, target, terms)
            run_job(job, job_key(network, job, terms), say)
    results = [
        Result(network, {target: read_bundle(build_job(network, target, terms)) for target in TARGETS})
        for network in NETWORKS
    ]
    words = f"--evaluation-count {evaluation_count}{' --search' if search else ''}"
    text = markdown(results, f'make foreign options="{words}"')
    replace_section(page, SECTION, text, title=TITLE)
    print_answer(text)
    require_taken([result for result in results if result.network in chosen])


def choose(only: tuple[str, ...]) -> tuple[Network, ...]:
    """Return the networks named in ``only``, all where none is named.

    Raises:
        InputError: there is no network of a name.
    """
    names = [network.name for network in NETWORKS]
    for name in only:
        if name not in names:
            raise InputError(
                f"there is no network {name!r}",
                expected=f"one of {', '.join(names)}",
                got=name,
                where="--only",
                fix="correct the name",
            )
    return tuple(network for network in NETWORKS if not only or network.name in only)


def require_taken(results: list[Result]) -> None:
    """Do nothing if each target takes all networks but one, and each bundle passes every check.

    Raises:
        RegressionFailed: naming each network that is beyond that.
    """
    refused = [[result.network.name for result in results if target in result.refused] for target in TARGETS]
    beyond = {name for names in refused if len(names) > MOST_REFUSED for name in names}
    beyond |= {result.network.name for result in results if result.failed}
    if beyond:
        raise RegressionFailed(
            f"{len(beyond)} of {len(results)} networks were not built, or are not within every budget",
            expected=f"bundles that pass every check, and at most {MOST_REFUSED} network without one for a target",
            got=", ".join(sorted(beyond)),
            where="make foreign",
            fix="the table says what failed; report.html of a bundle says more",
        )


if __name__ == "__main__":
    run_script(main)
