"""Compute on the smaller grid what is only read there: S(u·Mᵀ) = S(u)·Mᵀ."""

from compile.folding.linear.moves import Move
from compile.folding.linear.network import Network, Term, Value


def regrid(network: Network) -> int:
    """Move every value that all its readers average alike to the grid of the average; return how many were moved."""
    readers: dict[int, list[tuple[Value, int]]] = {value.uid: [] for value in network.values}
    for value in network.values:
        for index, term in enumerate(value.terms):
            readers[term.source].append((value, index))
    gates = {term.factor.value for value in network.values for term in value.terms if term.factor is not None}
    count = 0
    for value in reversed(network.values):
        if not value.is_source and not value.read and value.uid not in gates:
            count += _move(network, value, readers[value.uid])
    return count


def _move(network: Network, value: Value, readers: list[tuple[Value, int]]) -> bool:
    moves = {reader.terms[index].move for reader, index in readers}
    if len(moves) != 1:
        return False
    [move] = moves
    if not _averages(move, value):
        return False
    for reader, index in readers:
        terms = list(reader.terms)
        terms[index] = terms[index]._replace(move=network.moves.identity(move.shape))
        reader.terms = tuple(terms)
    value.terms = tuple(
        Term(term.source, network.moves.compose(move, term.move), term.factor, term.matrix) for term in value.terms
    )
    value.grid, value.axes, value.channel_shape = move.shape, "p" * len(move.shape) + "c", (value.channels,)
    return True


def _averages(move: Move, value: Value) -> bool:
    if move.is_window or any(term.move.is_window for term in value.terms):
        return False
    fewer = move.weights.shape[0] < value.positions
    return fewer and not move.is_selection and (move.keeps_constants or not value.has_bias)
