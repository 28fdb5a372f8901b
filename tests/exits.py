"""How a command line ends that is called in this process."""

from collections.abc import Callable


def exit_code(main: Callable[..., object], *arguments: object) -> int:
    """Call a ``main`` and return the exit code that its process would have."""
    try:
        main(*arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
