"""Lets ``python compile/<stage>.py`` run from any folder, and says how to enter the environment where it cannot.

Python puts ``compile/`` first on the module path when a file in it is run; this module replaces that entry with
the repository root, and then takes both off it (bundle/base/isolated.py). It must itself be readable by any Python 3.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("numpy", "pydantic", "typer", "rich")
HOW_TO_ENTER = """\
This command runs inside the project's environment, which is not active here.
  missing: {missing}
  python:  {python}
  fix:     make -C {root} env && . {root}/.venv/bin/activate
"""

sys.path[0] = str(ROOT)
missing = ["Python 3.11 or newer"]
if sys.version_info >= (3, 11):
    from bundle.base.isolated import isolate

    isolate()
    missing = [name for name in NEEDED if find_spec(name) is None]
if missing:
    sys.stderr.write(HOW_TO_ENTER.format(missing=", ".join(missing), python=sys.executable, root=ROOT))
    raise SystemExit(2)
