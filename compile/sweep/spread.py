"""The units of a sweep, in this process one after the other or on the workers of a cluster."""

from collections.abc import Callable, Sequence

from compile.stage.cluster import Places, answers, connected, send
from compile.sweep.unit import Order, Outcome, run_unit


def run_all(orders: Sequence[Order], places: Places, done: Callable[[Outcome], None]) -> None:
    """Run every unit and call ``done`` with each outcome, in the order in which they end.

    Raises:
        InputError: the scheduler cannot be reached, or went away.
        TargetUnavailable: Dask is not installed.
    """
    if not places.workers and not places.scheduler:
        for order in orders:
            done(run_unit(*order))
        return
    named = {f"{order.name} {order.digest}": order for order in orders}
    with connected(places) as client:
        for key, outcome in answers(client, send(client, run_unit, named), places):
            done(outcome or Outcome(named[key].name, "every worker that took it was killed"))
