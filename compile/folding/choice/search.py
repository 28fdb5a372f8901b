"""Which values to keep: a search over a target's cost.

It starts from nothing kept but what must be, and from everything kept; it flips classes of alike values, swaps neighbouring
classes, flips single values, then cuts around each class, until nothing improves; the better end is the answer. It is
deterministic.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import NamedTuple

from compile.folding.choice.cost import Work, cost_of, norm_scaled
from compile.folding.choice.price import fixed_price
from compile.folding.choice.probe import Probe, probe
from compile.folding.linear.expand import Blocked, Passed, expand, reached
from compile.folding.linear.network import Network, Term, Value
from targets.folding import Rates

DESCENTS = 12
# For each partition: how often the colours of values are refined by those of their neighbours.
REFINED = (0, 2, 4, 6)
# How many terms away from a class its region reaches.
RADIUS = 3
# What a change must save, in multiply-accumulates.
LEAST = 1.0


class Found(NamedTuple):
    """The values to keep besides the sources, what the graph costs then, from either start, and what could not go, why."""

    kept: frozenset[int]
    cost: float
    ends: tuple[float, float]
    blocked: dict[int, str]


class Search:
    """A set of kept values and its cost, which flips change step by step."""

    def __init__(self, network: Network, rates: Rates) -> None:
        self.network, self.rates = network, rates
        self.live = _live(network)
        self.forced = {uid for uid in self.live if network.values[uid].is_source or network.values[uid].read}
        contracted = _contracted(network, self.live)
        self.free = sorted(uid for uid in self.live if uid not in self.forced and uid not in contracted)
        self.kept = set(self.forced)
        self._works: dict[tuple[int, frozenset[int]], Work | None] = {}
        self._work: dict[int, Work] = {}
        self._starts: dict[int, Probe] = {}
        self._passed: Passed[Probe] = {}
        self._shared: dict[Hashable, tuple[int, int]] = {}
        self._behind: dict[int, frozenset[int]] = {}
        self._users: dict[int, set[int]] = {uid: set() for uid in self.live}
        self.total = 0.0
        self.blocked: dict[int, str] = {}

    def start(self, kept: Iterable[int]) -> None:
        """Begin with these values kept, and with those that elimination does not allow to go."""
        self.kept = self.forced | set(kept)
        for uid in list(self._work):
            self._set(uid, None, frozenset())
        waiting = sorted(self.kept)
        while waiting:
            uid = waiting.pop()
            if not self.network.values[uid].is_source:
                try:
                    inner = self._inner(uid)
                    self._works[uid, inner] = self.work(self.network.values[uid], inner)
                except Blocked as blocked:
                    self.kept.add(blocked.value)
                    self.blocked.setdefault(blocked.value, str(blocked))
                    waiting += [blocked.value, uid]
        for uid in self.kept:
            self._update(uid)

    def flip(self, chosen: Iterable[int]) -> bool:
        """Keep what is eliminated and eliminate what is kept of these values, if that costs less; say whether."""
        old = self.total
        allowed, undo = self._try({uid for uid in chosen if uid in self._users})
        if allowed and self.total < old - LEAST:
            return True
        undo()
        return False

    def difference(self, uid: int) -> float | None:
        """Return what it would cost more to keep this value, or if it is kept to eliminate it; None if that cannot be."""
        old = self.total
        allowed, undo = self._try({uid})
        more = self.total - old
        undo()
        return more if allowed else None

    def settle(self) -> None:
        """Leave a norm its own gain and shift where to apply them elsewhere gains nothing."""
        for uid in self.free:
            core, old = norm_scaled(self.network, self.network.values[uid]), self.total
            if uid not in self.kept and core is not None:
                allowed, undo = self._try({uid})
                if not allowed or self.total > old or self._users[core] != {uid}:
                    undo()

    def _try(self, chosen: set[int]) -> tuple[bool, Callable[[], None]]:
        """Flip values; return whether all can be computed then, and how to undo it."""
        affected = sorted(chosen.union(*(self._users[uid] for uid in chosen)))
        before, old = {uid: (self._work.get(uid), self._behind.get(uid, frozenset())) for uid in affected}, self.total

        def undo() -> None:
            self.kept ^= chosen
            for uid, (work, behind) in before.items():
                self._set(uid, work, behind)
            self.total = old

        self.kept ^= chosen
        return all(self._update(uid) for uid in affected), undo

    def work(self, value: Value, inner: Collection[int]) -> Work:
        """Return what a kept value takes now, with the ``inner`` values behind it eliminated.

        Raises:
            Blocked: a value that is not kept must be.
        """
        if value.uid not in self._starts:
            self._starts[value.uid] = probe(value.channels, value.uid)
        reads = expand(self.network, value, self._starts[value.uid], self.kept.__contains__, self._passed)
        has_bias = value.has_bias or any(self.network.values[uid].has_bias for uid in inner)
        return cost_of(self.network, value, reads, self.rates, has_bias=has_bias)

    def _inner(self, uid: int) -> frozenset[int]:
        inner, _ = reached(self.network, self.network.values[uid], self.kept.__contains__)
        return frozenset(inner)

    def _update(self, uid: int) -> bool:
        """Price a value anew; say whether it can be computed."""
        value = self.network.values[uid]
        if uid not in self.kept or value.is_source:
            self._set(uid, None, frozenset())
            return True
        inner, ends = reached(self.network, value, self.kept.__contains__)
        key = (uid, frozenset(inner))
        if key not in self._works:
            try:
                self._works[key] = self.work(value, inner)
            except Blocked:
                self._works[key] = None
        work = self._works[key]
        if work is not None:
            self._set(uid, work, frozenset(inner) | frozenset(ends))
        return work is not None

    def _set(self, uid: int, work: Work | None, behind: frozenset[int]) -> None:
        """Take a value's work out of the total and put other work in its place."""
        old = self._work.pop(uid, None)
        for sign, one in ((-1, old), (1, work)):
            if one is not None:
                self.total += sign * one.priced(self.rates)
                self._share(sign, one)
        for passed in self._behind.pop(uid, frozenset()):
            if passed in self._users:
                self._users[passed].discard(uid)
        if work is not None:
            self._work[uid], self._behind[uid] = work, behind
            for passed in behind:
                if passed in self._users:
                    self._users[passed].add(uid)

    def _share(self, sign: int, work: Work) -> None:
        """Count who asks for shared work: the first pays for it, and where several do each takes its part."""
        for one in work.shared:
            count, parts = self._shared.get(one.key, (0, 0))
            self.total -= self._shared_price(one.once, count, parts)
            count, parts = self._shared[one.key] = count + sign, parts + sign * one.part
            self.total += self._shared_price(one.once, count, parts)

    def _shared_price(self, once: Work, count: int, parts: int) -> float:
        split = Work(elements=parts, operators=1) if count > 1 and parts else Work()
        return split.priced(self.rates) + (once.priced(self.rates) if count else 0.0)


def search(network: Network, rates: Rates, progress: Callable[[str], None] = lambda _: None) -> Found:
    """Return the kept values that cost least of those found."""
    state = Search(network, rates)
    groups = [classes(network, state.free, state.live, rounds) for rounds in REFINED]
    results: list[tuple[float, frozenset[int]]] = []
    for start in ([], state.free):
        state.start(start)
        progress(f"fold: search from {len(start)} kept values: estimated cost {state.total / 1e6:.0f} M MACs")
        _descend(state, groups)
        while _cut(state, groups[2]):
            _descend(state, groups)
        state.settle()
        results.append(
            (state.total, frozenset(state.kept - {uid for uid in state.forced if network.values[uid].is_source}))
        )
        progress(f"fold: down to {state.total / 1e6:.0f} M MACs with {len(results[-1][1])} kept values")
    cost, kept = min(results, key=lambda result: result[0])
    blocked = {uid: reason for uid, reason in sorted(state.blocked.items()) if uid in kept}
    fixed = fixed_price(network, rates)
    return Found(kept, cost + fixed, (results[0][0] + fixed, results[1][0] + fixed), blocked)


def _descend(state: Search, groups: Sequence[Sequence[Sequence[int]]]) -> None:
    for _ in range(DESCENTS):
        changed = False
        for classes_of in groups:
            for group in classes_of:
                if len(group) > 1:
                    changed |= _flip_group(state, group)
            changed |= _swap(state, classes_of)
        for uid in state.free:
            changed |= state.flip([uid])
        if not changed:
            return


def _flip_group(state: Search, group: Sequence[int]) -> bool:
    """Flip a whole class; where some are kept and some not, try both ways."""
    kept = [uid for uid in group if uid in state.kept]
    gone = [uid for uid in group if uid not in state.kept]
    changed = bool(kept) and state.flip(kept)
    return (bool(gone) and not changed and state.flip(gone)) or changed


def _swap(state: Search, groups: Sequence[Sequence[int]]) -> bool:
    """Eliminate one class and keep a neighbouring one in its place."""
    where = {uid: number for number, group in enumerate(groups) for uid in group}
    changed = False
    pairs = sorted(
        {
            (where[value], where[term.source])
            for value in where
            for term in state.network.values[value].terms
            if term.source in where and where[term.source] != where[value]
        }
    )
    for one, other in pairs:
        first, second = groups[one], groups[other]
        for keep, drop in ((first, second), (second, first)):
            new = [uid for uid in keep if uid not in state.kept]
            old = [uid for uid in drop if uid in state.kept]
            if new and old:
                changed |= state.flip([*new, *old])
    return changed


def _cut(state: Search, groups: Sequence[Sequence[int]]) -> bool:
    """Around each class keep nothing, that class alone, or it and one other; say whether any of this costs less."""
    near = _neighbours(state.network, groups)
    changed = False
    for centre in range(len(groups)):
        region = _within(near, centre, RADIUS)
        values = {uid for one in region for uid in groups[one]}
        choices = [
            set[int](),
            set(groups[centre]),
            *({*groups[centre], *groups[other]} for other in region if other != centre),
        ]
        for keep in choices:
            now = {uid for uid in values if uid in state.kept}
            if now != keep:
                changed |= state.flip(now ^ keep)
    return changed


def _neighbours(network: Network, groups: Sequence[Sequence[int]]) -> list[set[int]]:
    """Return for each class those that a term leads to or from, also by way of values that are always eliminated."""
    where = {uid: number for number, group in enumerate(groups) for uid in group}
    near: list[set[int]] = [set() for _ in groups]
    for number, group in enumerate(groups):
        for uid in group:
            _, ends = reached(network, network.values[uid], lambda one: one in where or network.values[one].read)
            for other in {where[one] for one in ends if one in where}:
                near[number].add(other)
                near[other].add(number)
    return near


def _within(near: Sequence[set[int]], centre: int, radius: int) -> list[int]:
    found = {centre}
    for _ in range(radius):
        found |= set[int]().union(*(near[one] for one in found))
    return sorted(found)


def classes(network: Network, free: Sequence[int], live: Collection[int], rounds: int) -> list[list[int]]:
    """Return the values in groups that look alike: channels, positions and kinds of terms, refined by neighbours ``rounds`` times."""
    values = [network.values[uid] for uid in sorted(live)]
    colours = {
        value.uid: hash(
            (value.channels, value.positions, value.is_source, value.read, *(_kind(one) for one in value.terms))
        )
        for value in values
    }
    readers = network.readers()
    for _ in range(rounds):
        colours = {
            value.uid: hash(
                (
                    colours[value.uid],
                    tuple(sorted(colours[term.source] for term in value.terms)),
                    tuple(sorted(colours[reader] for reader in readers[value.uid] if reader in colours)),
                )
            )
            for value in values
        }
    groups: dict[int, list[int]] = {}
    for uid in free:
        groups.setdefault(colours[uid], []).append(uid)
    return list(groups.values())


def _kind(term: Term) -> tuple[bool, bool, bool]:
    return term.factor is None, term.matrix.selection is None, term.move.is_identity


def _live(network: Network) -> set[int]:
    """Return the values that something which stays depends on."""
    live = set[int]()
    waiting = [value.uid for value in network.values if value.read]
    while waiting:
        uid = waiting.pop()
        if uid not in live:
            live.add(uid)
            for term in network.values[uid].terms:
                waiting.append(term.source)
                if term.factor is not None:
                    waiting.append(term.factor.value)
    return live


def _contracted(network: Network, live: set[int]) -> set[int]:
    """Return the values whose elimination costs nothing whatever else is kept: one reader, which takes them as they are."""
    counts: dict[int, int] = {}
    plain: dict[int, bool] = {}
    for uid in live:
        for term in network.values[uid].terms:
            counts[term.source] = counts.get(term.source, 0) + 1
            selection = term.matrix.selection
            plain[term.source] = (
                term.factor is None and term.move.is_identity and selection is not None and selection.is_identity
            )
    return {
        uid
        for uid in live
        if not network.values[uid].is_source and not network.values[uid].read and counts.get(uid) == 1 and plain[uid]
    }
