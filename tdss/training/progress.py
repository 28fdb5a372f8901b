"""What a person sees of a training run: a progress bar with the time that remains."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bundle.base.escaping import escaped

SMOOTHING = 0.02  # the weight of the last step in the pace


class Display:
    """A bar on a terminal; elsewhere a line at most every ``every`` seconds. Both say what remains."""

    def __init__(self, name: str, console: Console, every: float = 30.0) -> None:
        self.name, self.console, self.every = name, console, every
        self.last = 0.0
        self.pace, self.paced = 0.0, 0  # seconds per step, smoothed over about 50 steps; how many steps are in it
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.row = self.bar.add_task(name, total=None)

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self, step: int, total: int, loss: float, seconds: float) -> None:
        """Show that ``step`` of ``total`` steps are done, the last one in ``seconds``; a ``total`` of 0 is not known yet."""
        self.pace += max(SMOOTHING, 1 / max(1, self.paced)) * (
            seconds - self.pace
        )  # the second step replaces the first, a slow one
        self.paced += 1
        self.bar.update(self.row, completed=step, total=total or None, description=f"{self.name} loss {loss:.3f}")
        now = time.monotonic()
        if self.console.is_terminal or now - self.last < self.every:
            return
        self.last = now
        shown, left = (
            (f"{step}/{total}", f"  {hours(max(0, total - step) * self.pace)} left") if total else (f"{step}", "")
        )
        self.say(f"step {shown}  loss {loss:.3f}  {self.pace:.3f} s/step{left}")

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(
            escaped(f"{time.strftime('%H:%M:%S', time.gmtime())} {self.name}: {text}"),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def hours(seconds: float) -> str:
    """Write a duration as hours, minutes and seconds; 24 hours and more stay hours."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"
