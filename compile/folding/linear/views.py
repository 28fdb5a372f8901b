"""Operators that only move elements, on views: reshape, transpose, slice, gather, expand."""

import numpy as np

from compile.folding.linear.matrices import Index
from compile.folding.linear.moves import Moves, Shape, Step, places
from compile.folding.linear.network import CHANNEL, POSITION, View, parts_of


def reshape(moves: Moves, view: View, shape: Shape) -> View | None:
    """Return the view in another shape; None where the new shape mixes positions and channels."""
    axes = _reshaped_axes(view.shape, view.axes, shape)
    if axes is None and view.move.broadcasts:
        view = _all_channels(moves, view)
        axes = CHANNEL * len(shape)
    if axes is None:
        return None
    grid, channels = parts_of(shape, axes)
    return View(view.value, moves.reshape(view.move, grid), view.channels.reshape(channels), axes)


def _all_channels(moves: Moves, view: View) -> View:
    """Return a view of a single position, repeated, with every axis a channel axis."""
    alone = tuple(size if axis == CHANNEL else 1 for size, axis in zip(view.shape, view.axes, strict=True))
    channels = np.broadcast_to(view.channels.reshape(alone), view.shape)
    return View(view.value, moves.identity(view.move.source, ()), channels, CHANNEL * len(view.axes))


def retype(moves: Moves, view: View, axes: str) -> View | None:
    """Return the view with the given kinds of axes; None where an axis longer than 1 would change its kind."""
    if any(size != 1 and one != other for size, one, other in zip(view.shape, view.axes, axes, strict=True)):
        return None
    grid, channels = parts_of(view.shape, axes)
    return View(view.value, moves.reshape(view.move, grid), view.channels.reshape(channels), axes)


def transpose(moves: Moves, view: View, perm: Shape) -> View:
    """Return the view with its axes in another order."""
    axes = "".join(view.axes[axis] for axis in perm)
    positions = tuple(view.axis_of(axis) for axis in perm if view.axes[axis] == POSITION)
    channels = tuple(view.axis_of(axis) for axis in perm if view.axes[axis] == CHANNEL)
    move = view.move
    if positions != tuple(sorted(positions)):
        turned = places(move.shape).transpose(positions)
        move = moves.compose(moves.index(move.shape, turned, (Step("transpose", positions, turned.shape),)), move)
    return View(view.value, move, view.channels.transpose(channels), axes)


def take(moves: Moves, view: View, axis: int, chosen: Index, step: tuple[str, Shape]) -> View:
    """Return the view of the ``chosen`` places of an axis; ``step`` names the operator that takes them and its arguments."""
    inner = view.axis_of(axis)
    if view.axes[axis] == CHANNEL:
        return view._replace(channels=view.channels.take(chosen, axis=inner))
    taken = places(view.move.shape).take(chosen, axis=inner)
    name, arguments = step
    cut = moves.index(view.move.shape, taken, (Step(name, (inner, *arguments), taken.shape),))
    return view._replace(move=moves.compose(cut, view.move))


def expand(moves: Moves, view: View, shape: Shape) -> View:
    """Return the view repeated along its axes of length 1, after axes of length 1 are put before it."""
    view = leading(moves, view, len(shape))
    grid, channels = parts_of(shape, view.axes)
    move = view.move
    if grid != move.shape:
        wide = np.broadcast_to(places(move.shape), grid)
        move = moves.compose(moves.index(move.shape, wide, (Step("expand", (), grid),)), move)
    return View(view.value, move, np.broadcast_to(view.channels, channels), view.axes)


def leading(moves: Moves, view: View, rank: int) -> View:
    """Return the view with position axes of length 1 put before it, to the rank."""
    missing = rank - len(view.axes)
    if missing <= 0:
        return view
    move = moves.reshape(view.move, (1,) * missing + view.move.shape)
    return View(view.value, move, view.channels, POSITION * missing + view.axes)


def join(moves: Moves, parts: list[View], axis: int) -> View | None:
    """Return several views of one value, joined along an axis, as one; None where they differ in more than that axis shows."""
    first = parts[0]
    if any(part.value != first.value or part.axes != first.axes for part in parts):
        return None
    inner = first.axis_of(axis)
    if first.axes[axis] == CHANNEL:
        if any(part.move is not first.move for part in parts):
            return None
        return first._replace(channels=np.concatenate([part.channels for part in parts], axis=inner))
    if any(not np.array_equal(part.channels, first.channels) for part in parts):
        return None
    if not all(part.move.is_selection for part in parts):
        return None
    source = first.move.source
    joined = np.concatenate([part.move.weights.indices.reshape(part.move.shape) for part in parts], axis=inner)
    step = Step("join", (inner,), joined.shape, parts=tuple(part.move.steps for part in parts))
    return first._replace(move=moves.index(source, joined.astype(np.int64), (step,)))


def _reshaped_axes(before: Shape, kinds: str, after: Shape) -> str | None:
    """Return the kinds of the new axes: those of the old ones that each group of equal product is made of."""
    old = [(size, kind) for size, kind in zip(before, kinds, strict=True) if size != 1]
    answer, here = [], 0
    pending, want = 1, 1
    group: list[str] = []
    for size in after:
        if size == 1:
            answer.append(POSITION if not group else group[0])
            continue
        want *= size
        answer.append("")
        while pending < want and here < len(old):
            pending *= old[here][0]
            group.append(old[here][1])
            here += 1
        if len(set(group)) != 1:
            return None
        answer[-1] = group[0]
        if pending == want:
            pending, want, group = 1, 1, []
    return "".join(answer) if pending == want == 1 and here == len(old) else None
