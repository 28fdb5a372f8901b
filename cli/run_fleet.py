"""``tdss fleet``: have several devices judge one bundle over SSH, and draw one page over them."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from bundle.formats.folder_lock import alone
from fleet.devices import only, read_fleet
from fleet.page import markdown, require_good, write_page
from fleet.parcel import parcel
from fleet.run import run_fleet


def main(
    devices: Annotated[Path, typer.Argument(help="The list of devices: devices.toml, see docs/guides/fleet.md.")],
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    names: Annotated[list[str] | None, typer.Option("--only", help="Only this device; may be given again.")] = None,
    out: Annotated[Path, typer.Option(help="Where results archives and fleet.html go.")] = Path("build/fleet"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Have several devices judge one bundle over SSH, and draw one page: devices × variants.

    The runtime and the bundle are copied to each device, and its results come back. The exit code is 1 if one is beyond a budget.
    A device that gives no result is a row with the reason, and the exit code is 3. The same command again asks only those
    devices whose result for this bundle and this runtime is not here.

    Example: tdss fleet devices.toml build/default/jetson --out build/fleet
    """
    from fleet.ssh import judge_there, read_trust

    fleet = only(read_fleet(devices), names or [], devices)
    trust = read_trust(fleet)
    with parcel(bundle) as sent, alone(out, "tdss fleet"):
        rows = asyncio.run(
            run_fleet(fleet, sent, out, lambda name, device, held: judge_there(name, device, held, trust, say))
        )
        page = write_page(rows, sent, out)
    variants = [variant.name for variant in sent.manifest.variants]
    answer = {"bundle": sent.bundle, "runtime": sent.runtime, "page": str(page)}
    table = markdown(rows, variants)
    listed = [row.model_dump(mode="json") for row in rows]
    print_answer(dumps({**answer, "devices": listed}, indent=2) if as_json else f"{table}\n{page}")
    require_good(rows)
