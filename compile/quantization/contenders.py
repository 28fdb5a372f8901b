"""Which variants a build judges on all images: those that can still be shipped, or that a device may choose.

Variants are timed first. The one that deserves to be shipped by its time (bundle/judging/choice_rule.py) is judged first; if it is within
its budgets, what is slower beyond the noise cannot be shipped whatever its verdicts, and is not judged. A graph that repairs
another waits for the verdict of that one. Where nothing is timed, the device decides: all are judged that go along with the bundle.
If no variant is within its budgets, all are judged. The most precise one is shipped then, and the table must say how each fares.

The choice is that of all variants judged: what is not judged has one before it that is within its budgets. Only a repair graph is
never shipped in place of a plain one that needs no repair.
"""

from collections.abc import Callable, Mapping, Sequence

from bundle.judging.choice import Choice, Skip
from bundle.judging.choice_rule import NO_PLANS, equals, may_ship, order, unsettled
from bundle.judging.regression_report import RegressionReport
from bundle.judging.sentences import outcome
from bundle.judging.timing import Rounds

# These fix what plain INT8 breaks; where plain INT8 is within every budget they fix nothing, and are wider.
PLAIN, SMOOTH, MIXED = "int8", "int8_smooth", "int8_mixed"
REPAIRS = {MIXED: PLAIN, SMOOTH: PLAIN}


class Contest:
    """The variants of one build, in the order of their names, and what is known of each: reports come in one by one.

    ``moved`` are the bytes that a variant's plan reads and writes for a frame, by name, where a builder made one.
    """

    def __init__(
        self,
        names: Sequence[str],
        judge_one: Callable[[str], RegressionReport],
        judged_only: Sequence[str],
        gain: float,
        moved: Mapping[str, float] = NO_PLANS,
    ) -> None:
        self.names = tuple(names)
        self._judged_only = tuple(judged_only)
        self.gain = gain
        self._moved = moved
        self._judge_one = judge_one
        self._reports: dict[str, RegressionReport] = {}

    def contenders(self, rounds: Rounds) -> tuple[str, ...]:
        """Return the variants that can be shipped as far as is known, the best first; an unjudged one counts as within its budgets."""
        within = {name for name, report in self._reports.items() if may_ship(report)}
        alive = [name for name in self.names if name in within or name not in self._reports]
        able = [name for name in alive if REPAIRS.get(name) not in alive]
        if rounds:
            return equals(able, rounds, self.gain) if able else ()
        return tuple(order([name for name in able if name not in self._judged_only], {}, self.gain, self._moved))

    def unsettled(self, rounds: Rounds) -> bool:
        """Judge until the first contender is within its budgets; say whether noise hides if it is the one to ship."""
        while (first := self.contenders(rounds)[:1]) and first[0] not in self._reports:
            self._judge(first[0])
        return len(self.contenders(rounds)) > 1 if first else unsettled(self._reports, rounds, self.gain)

    def reports(self, rounds: Rounds) -> dict[str, RegressionReport]:
        """Judge every contender, or every variant where none is within its budgets; return the reports in the variants' order."""
        while waiting := [name for name in self.contenders(rounds) if name not in self._reports]:
            self._judge(waiting[0])
        if not self.contenders(rounds):
            for name in self.names:
                self._judge(name)
        return {name: self._reports[name] for name in self.names if name in self._reports}

    @property
    def skipped(self) -> dict[str, Skip]:
        """The variants that were not judged, each with the reason."""
        return {name: self._why(name) for name in self.names if name not in self._reports}

    def _judge(self, name: str) -> None:
        if name not in self._reports:
            self._reports[name] = self._judge_one(name)

    def _why(self, name: str) -> Skip:
        plain = self._reports.get(REPAIRS.get(name, ""))
        if plain is not None and may_ship(plain):
            return "nothing_to_repair"
        if name in self._judged_only:
            return "left_out"
        return "slower"


def why_search(choice: Choice) -> str:
    """Say why a graph is searched for that repairs plain INT8: it was judged, and may not be shipped; "" where nothing needs repair.

    Plain INT8 that was not judged is slower than what is shipped, and whatever repairs it is slower still.
    """
    plain = next((candidate for candidate in choice.candidates if candidate.name == PLAIN and candidate.verdicts), None)
    if plain is None or (plain.standing == "within" and not plain.disagreeing):
        return ""
    return f"{PLAIN} is {outcome(plain)}"
