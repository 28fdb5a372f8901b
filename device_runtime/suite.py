"""Run ``tests/regression`` from the runtime file.

pytest collects files and no entries of an archive, and only so shows the values behind an assertion. So the suite's few files
are written to a temporary folder, with the settings of pytest beside them. The folder is removed at the end.
"""

import argparse
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle.base.errors import RegressionFailed, not_installed
from bundle.base.isolated import ROOT
from bundle.base.terminal import INTERNAL, INTERRUPTED
from bundle.transport.archive import unpack_beside
from bundle.transport.signature import verify_trusted

SETTINGS = "pyproject.toml"
SUITE = (SETTINGS, "tests/__init__.py", "tests/conftest.py", "tests/regression/*.py")
INSIDE = "suite/"  # where the runtime file has them: outside of what it imports


def run_suite(bundle: Path, options: Sequence[str]) -> None:
    """Verify a bundle, or unpack its archive, and run the suite on it with options of pytest; end with our exit code.

    Raises:
        SystemExit: with 1 where a test failed, 2 where pytest cannot use the options, 130 or 4 where it did not end.
        ArtifactError: a file is missing or was altered, or the bundle is not signed with the key that ``options`` name.
        TargetUnavailable: pytest is not installed.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--key", type=Path)
    key = parser.parse_known_args(options)[0].key
    folder = unpack_beside(bundle, key=key) if bundle.is_file() else bundle
    verify_trusted(folder, key)
    try:
        import pytest
    except ModuleNotFoundError as error:
        raise not_installed("this command", "pytest", extra="device", where=sys.executable, error=error) from error
    with _files() as root:
        named = [f"--rootdir={root}", f"--config-file={root / SETTINGS}", f"--bundle={folder.resolve()}"]
        code = int(pytest.main([str(root / "tests" / "regression"), "-p", "no:cacheprovider", *named, *options]))
    ends = {0: 0, 1: RegressionFailed.exit_code, 2: INTERRUPTED, 3: INTERNAL}
    raise SystemExit(ends.get(code, 2))


@contextmanager
def _files() -> Iterator[Path]:
    """Yield a folder with the suite's files: the checkout, or a temporary one."""
    if ROOT.is_dir():
        yield ROOT
        return
    with TemporaryDirectory(prefix="tdss-suite.") as scratch, zipfile.ZipFile(ROOT) as runtime:
        for name in runtime.namelist():
            if name.startswith(INSIDE):
                path = Path(scratch, name.removeprefix(INSIDE))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(runtime.read(name))
        yield Path(scratch)
