"""Which of a model's tasks are asked for."""

from collections.abc import Sequence

from bundle.base.errors import ConfigError


def require_known(known: Sequence[str], tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the ``tasks`` that are asked for in the order in which they are ``known``.

    Raises:
        ConfigError: a task is not known, occurs twice, or there is none.
    """
    if not tasks or len(set(tasks)) < len(tasks) or not set(tasks) <= set(known):
        raise ConfigError(
            "these tasks cannot be kept",
            expected=f"one or more of {', '.join(known)}, each once",
            got=", ".join(tasks) or "no task",
            where="tasks",
            fix="correct the list, as in tasks=semseg,depth",
        )
    return tuple(task for task in known if task in tasks)
