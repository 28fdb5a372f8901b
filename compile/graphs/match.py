"""How a pass finds its nodes: a function ``match`` returns what the rewrite needs, or raises why it does not apply."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

NodeT = TypeVar("NodeT")
FoundT = TypeVar("FoundT")


class NoMatch(Exception):
    """Why a pass leaves a node as it is."""


def matches(match: Callable[[NodeT], FoundT], nodes: Iterable[NodeT]) -> Iterator[tuple[NodeT, FoundT]]:
    """Yield each node that matches, with what ``match`` returned when its turn came."""
    for node in nodes:
        try:
            found = match(node)
        except NoMatch:
            continue
        yield node, found


def reason_against(match: Callable[[NodeT], object], node: NodeT) -> str | None:
    """Return why a node does not match, None if it does."""
    try:
        match(node)
    except NoMatch as reason:
        return str(reason)
    return None
