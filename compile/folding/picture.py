"""One part of a network before and after elimination, as boxes and arrows for a reader.

Values that look alike and lie equally deep are one box: the six tasks of an adapter are drawn once, times six.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import NamedTuple

from bundle.formats.fold import FoldBox, FoldNet, FoldPicture
from compile.folding.linear.network import Network
from compile.folding.record import scope_of

# A larger part is not drawn: it is not readable.
MOST_BOXES = 16
# How far around a value another must look the same to share its box.
ROUNDS = 2


class _Part(NamedTuple):
    """A module scope of a network, and which values are kept in the whole."""

    network: Network
    kept: frozenset[int]
    scope: str

    def stops(self, uid: int) -> bool:
        """Say whether a value is there after elimination."""
        return uid in self.kept or self.network.values[uid].is_source

    def shows(self, uid: int) -> bool:
        """Say whether a value is drawn before elimination."""
        return self.holds(uid) or self.stops(uid)

    def holds(self, uid: int) -> bool:
        """Say whether a value is computed inside the part."""
        value = self.network.values[uid]
        return not value.is_source and within(scope_of(value.name), self.scope)


def picture(network: Network, kept: frozenset[int], saved: Mapping[str, int]) -> FoldPicture | None:
    """Return the picture of the scope that saves most of those small enough to draw; ``saved`` are MACs by scope.

    None where no scope with an eliminated value saves anything.
    """
    scopes = {
        scope
        for value in network.values
        if not value.is_source and value.uid not in kept
        for scope in _outer(scope_of(value.name))
    }
    gains = {scope: sum(macs for inner, macs in saved.items() if within(inner, scope)) for scope in scopes}
    for scope in sorted((one for one in scopes if gains[one] > 0), key=lambda one: (-gains[one], one)):
        part = _Part(network, kept, scope)
        before, after = _net(part, part.shows), _net(part, part.stops)
        if 0 < len(after.boxes) < len(before.boxes) <= MOST_BOXES:
            return FoldPicture(scope=scope, before=before, after=after)
    return None


def within(scope: str, outer: str) -> bool:
    """Say whether a module scope is another one, or inside it."""
    return scope == outer or scope.startswith(f"{outer}.")


def _outer(scope: str) -> Iterator[str]:
    """Yield a scope and those around it."""
    while scope:
        yield scope
        scope = scope.rpartition(".")[0]


def _net(part: _Part, stops: Callable[[int], bool]) -> FoldNet:
    """Return what the part computes, what it reads, and what outside reads it, with values in between left out."""
    arrows = {
        uid: tuple(_reads(part.network, uid, stops))
        for uid in sorted({*part.kept, *_inside(part)})
        if stops(uid) and not part.network.values[uid].is_source
    }
    chosen = {uid for uid in arrows if part.holds(uid) or _touches(part, uid)}
    arrows = {uid: sources for uid, sources in arrows.items() if uid in chosen}
    shown = sorted(chosen | {source for sources in arrows.values() for source, _ in sources})
    colours = _colours(part, shown, arrows)
    places = {colour: place for place, colour in enumerate(dict.fromkeys(colours[uid] for uid in shown))}
    counts = Counter(colours[uid] for uid in shown)
    firsts = {colours[uid]: uid for uid in reversed(shown)}
    return FoldNet(
        boxes=tuple(_box(part, firsts[colour], counts[colour]) for colour in places),
        arrows=tuple(
            sorted(
                {
                    (places[colours[source]], places[colours[uid]], gates)
                    for uid, sources in arrows.items()
                    for source, gates in sources
                }
            )
        ),
    )


def _inside(part: _Part) -> Iterator[int]:
    return (value.uid for value in part.network.values if part.holds(value.uid))


def _touches(part: _Part, uid: int) -> bool:
    """Say whether a kept value reads the part, once what is eliminated is left out."""
    waiting, seen = [uid], set[int]()
    while waiting:
        for term in part.network.values[waiting.pop()].terms:
            if part.holds(term.source):
                return True
            if term.source not in seen and not part.stops(term.source):
                seen.add(term.source)
                waiting.append(term.source)
    return False


def _reads(network: Network, uid: int, stops: Callable[[int], bool]) -> Iterator[tuple[int, bool]]:
    """Yield each value that another reads, and whether it only gates what is read."""
    waiting, seen = [uid], set[tuple[int, bool]]()
    while waiting:
        for term in network.values[waiting.pop()].terms:
            found = [(term.source, False), *([(term.factor.value, True)] if term.factor else [])]
            for one in found:
                if one in seen:
                    continue
                seen.add(one)
                if one[1] or stops(one[0]):
                    yield one
                else:
                    waiting.append(one[0])


def _colours(part: _Part, shown: list[int], arrows: Mapping[int, tuple[tuple[int, bool], ...]]) -> dict[int, Hashable]:
    depths: dict[int, int] = {}
    for uid in shown:  # a value comes after what it reads
        depths[uid] = max((depths.get(source, 0) + 1 for source, _ in arrows.get(uid, ())), default=0)
    values = part.network.values
    colours: dict[int, Hashable] = {
        uid: (depths[uid], values[uid].channels, values[uid].positions, part.holds(uid), uid in arrows) for uid in shown
    }
    for _ in range(ROUNDS):
        readers: dict[int, list[Hashable]] = {}
        for uid, sources in arrows.items():
            for source, gates in sources:
                readers.setdefault(source, []).append((colours[uid], gates))
        colours = {
            uid: (
                colours[uid],
                frozenset((colours[source], gates) for source, gates in arrows.get(uid, ())),
                frozenset(readers.get(uid, ())),
            )
            for uid in shown
        }
    return colours


def _box(part: _Part, uid: int, count: int) -> FoldBox:
    value = part.network.values[uid]
    kind = "source" if value.is_source else "inside" if part.holds(uid) else "outside"
    label = value.name.removeprefix(part.scope).lstrip("./") if kind == "inside" else value.name
    return FoldBox(label=label, channels=value.channels, positions=value.positions, count=count, kind=kind)
