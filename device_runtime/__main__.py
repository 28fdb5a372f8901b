"""``python3 tdss-runtime.pyz COMMAND``, and ``python -m device_runtime COMMAND`` in a checkout.

Python 3.6 can read this file, so an old one is refused with a message.
"""

import os
import sys

OLDEST = (3, 10)


def main() -> None:
    """Refuse an old Python, then run the command line; a package that is missing ends with 3."""
    if sys.version_info < OLDEST:
        wanted, here = (".".join(map(str, version)) for version in (OLDEST, sys.version_info[:3]))
        sys.stderr.write(
            f"error: this Python is too old\n  expected: Python {wanted} or newer\n  got:      {here}\n"
            f"  where:    {sys.executable}\n  fix:      start the same command with another Python, as python3.10\n"
        )
        raise SystemExit(3)
    sys.path[0] = os.path.abspath(sys.path[0])
    from bundle.base.terminal import exit_status

    with exit_status():
        from device_runtime.command import main as run

        run()


if __name__ == "__main__":
    main()
