"""``tdss bundle …``: what one does with a bundle; ``python -m bundle …`` is the same on a device."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.transport import commands
from bundle.transport.archive import MAX_BYTES
from device_runtime.write import pack_with_runtime

BundleFolder: TypeAlias = Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")]
PublicKey: TypeAlias = Annotated[Path | None, typer.Option(help="Refuse one that is not signed with this public key.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


def _show(answer: commands.Answer, *, as_json: bool) -> None:
    print_answer(dumps(answer.value) if as_json else answer.text)


def verify(bundle: BundleFolder, key: PublicKey = None, as_json: AsJson = False) -> None:
    """Hash every file of a bundle and refuse, by name, one that was altered.

    Example: tdss bundle verify build/default/intel --key release.pub
    """
    _show(commands.verify(bundle, key), as_json=as_json)


def info(bundle: BundleFolder, as_json: AsJson = False) -> None:
    """Say what a bundle holds: tasks, variants, the engine, budgets; its files are hashed first.

    Example: tdss bundle info build/default/intel --json
    """
    _show(commands.info(bundle), as_json=as_json)


def pack(
    bundle: BundleFolder,
    out: Annotated[Path | None, typer.Option(help="The archive to write. Default: beside the bundle.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a bundle as one archive, and the device runtime beside it; the same bytes each time. Engines stay behind.

    Example: tdss bundle pack build/default/jetson --out default-jetson.zip
    """
    _show(pack_with_runtime(bundle, out), as_json=as_json)


def unpack(
    archive: Annotated[Path, typer.Argument(help="A file that pack wrote.")],
    out: Annotated[Path, typer.Option(help="The folder to write; there must be nothing in it.")],
    key: PublicKey = None,
    max_bytes: Annotated[
        int, typer.Option(min=1, max=LIMITS["bundle_bytes"].most, help="Refuse more than this, unpacked.")
    ] = MAX_BYTES,
    as_json: AsJson = False,
) -> None:
    """Unpack an archive, complete and verified, or not at all.

    Example: tdss bundle unpack default-jetson.zip --out default-jetson --key release.pub
    """
    _show(commands.unpack(archive, out, key, max_bytes), as_json=as_json)


def sign(
    bundle: BundleFolder,
    key: Annotated[Path, typer.Option(help="The private key to sign with.")],
    as_json: AsJson = False,
) -> None:
    """Sign a bundle's manifest with a private key; verify, unpack and regress check it with --key.

    Example: tdss bundle sign build/default/jetson --key release
    """
    _show(commands.sign(bundle, key), as_json=as_json)


def keygen(
    path: Annotated[Path, typer.Argument(metavar="KEY", help="The private key to write; KEY.pub is written too.")],
    as_json: AsJson = False,
) -> None:
    """Make a pair of ed25519 keys: KEY signs, KEY.pub checks.

    Example: tdss bundle keygen release
    """
    _show(commands.make_keys(path), as_json=as_json)
