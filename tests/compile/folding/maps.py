"""The steps of a random network that map channels, add, scale or bend: each takes a value and returns what it becomes."""

from collections.abc import Sequence

import numpy as np

from tests.compile.folding.graphs import Builder, Item
from tests.compile.folding.moves import MOST_CHANNELS, TASKS, reshape, resized, transpose


def width(b: Builder, item: Item) -> int:
    """A number of channels: what a matrix that fits makes of them, what another value has, or any."""
    size = item.size("c")
    pairs = [shape[-2:] for shape in b.constants() if len(shape) > 1 and size in shape[-2:]]
    if pairs and b.chance(0.4):
        one, other = pairs[b.pick(0, len(pairs) - 1)]
        return other if one == size else one
    like = b.items[b.pick(0, len(b.items) - 1)]
    return like.size("c") if b.chance(0.5) else b.pick(1, MOST_CHANNELS)


def with_width(item: Item, channels: int) -> list[int]:
    return resized(item, item.axes.index("c"), channels)


def biased(b: Builder, item: Item) -> Item:
    """With a bias half of the time."""
    return b.node("Add", [item, b.vector(item)], item.axes, item.shape) if b.chance(0.5) else item


def product(b: Builder, item: Item) -> list[Item]:
    """x Wᵀ, channels last; W x where they are last but one."""
    out = width(b, item)
    if len(item.axes) > 1 and item.axes[-1] == "c":
        made = b.node("MatMul", [item, b.matrix(item.size("c"), out)], item.axes, with_width(item, out))
    elif len(item.axes) > 1 and item.axes[-2] == "c":
        made = b.node("MatMul", [b.matrix(out, item.size("c")), item], item.axes, with_width(item, out))
    else:
        return []
    return [biased(b, made)]


def gemm(b: Builder, item: Item) -> list[Item]:
    if len(item.axes) != 2 or "c" not in item.axes:
        return []
    first, turned, out = item.axes[0] == "c", b.chance(0.5), width(b, item)
    axes = item.axes[::-1] if first else item.axes
    rows = item.shape[1] if first else item.shape[0]
    size = item.size("c")
    inputs = [item.value, b.matrix(out, size) if turned else b.matrix(size, out)]
    numbers = {"alpha": float(b.rng.normal())} if b.chance(0.3) else {}
    if b.chance(0.6):
        inputs.append(b.constant(b.rng.normal(size=out)))
        numbers |= {"beta": float(b.rng.normal())} if b.chance(0.3) else {}
    return [b.node("Gemm", inputs, axes, [rows, out], transA=int(first), transB=int(turned), **numbers)]


def convolution(b: Builder, item: Item, kernel: int, groups: int, *, stride: int = 1) -> list[Item]:
    if (
        len(item.axes) not in (3, 4)
        or item.axes[1] != "c"
        or item.axes[0] not in "nt"
        or len(item.places) < len(item.axes) - 2
    ):
        return []
    sides, size = len(item.axes) - 2, item.size("c")
    if size % groups or any(side % stride for side in item.shape[2:]):
        return []
    out = groups * b.pick(1, MOST_CHANNELS // groups)
    inputs = [item.value, b.matrix(out, size // groups, *[kernel] * sides)]
    if b.chance(0.5):
        inputs.append(b.constant(b.rng.normal(size=out)))
    pads = [(kernel - stride) // 2] * 2 * sides
    shape = [item.shape[0], out, *(side // stride for side in item.shape[2:])]
    return [b.node("Conv", inputs, item.axes, shape, group=groups, pads=pads, strides=[stride] * sides)]


def pointwise(b: Builder, item: Item) -> list[Item]:
    return convolution(b, item, 1, 1)


def grouped(b: Builder, item: Item) -> list[Item]:
    """1×1, in groups of two channels or more, or of one."""
    size = item.size("c")
    return convolution(b, item, 1, size if b.chance(0.4) else 2 if size % 2 == 0 else 3)


def wide(b: Builder, item: Item) -> list[Item]:
    """3×3, of one group or depthwise; or patches of 2×2."""
    if b.chance(0.3):
        return convolution(b, item, 2, 1, stride=2)
    return convolution(b, item, 3, item.size("c") if b.chance(0.3) else 1)


def einsum(b: Builder, item: Item) -> list[Item]:
    """One matrix, the axes in any order."""
    out = width(b, item)
    axes = "".join(b.rng.permutation(list(item.axes))) if b.chance(0.3) else item.axes
    if axes == "c":
        return []
    shape = [out if axis == "c" else item.size(axis) for axis in axes]
    weight, term = (b.matrix(out, item.size("c")), "dc") if b.chance(0.5) else (b.matrix(item.size("c"), out), "cd")
    equation = f"{item.axes},{term}->{axes.replace('c', 'd')}"
    return [b.node("Einsum", [item, weight], axes, shape, equation=equation)]


def stacked_einsum(b: Builder, item: Item) -> list[Item]:
    """A matrix for each task."""
    tasks, out = item.size("t") if "t" in item.axes else b.pick(2, TASKS), width(b, item)
    if len(item.axes) > 3:
        return []
    rest = item.axes.replace("t", "").replace("n", "")
    axes = f"t{rest}"
    shape = [tasks, *(out if axis == "c" else item.size(axis) for axis in rest)]
    equation = f"{item.axes},tcd->{axes.replace('c', 'd')}"
    return [b.node("Einsum", [item, b.matrix(tasks, item.size("c"), out)], axes, shape, equation=equation)]


def stacked(b: Builder, item: Item) -> list[Item]:
    """A batched product, one matrix for each task."""
    if item.axes not in ("lc", "hc", "wc", "nlc", "tlc", "thwc"):
        return []
    tasks, size, out = item.size("t") if "t" in item.axes else b.pick(2, TASKS), item.size("c"), width(b, item)
    weight = b.matrix(tasks, 1, size, out) if len(item.axes) == 4 else b.matrix(tasks, size, out)
    axes = item.axes if "t" in item.axes else f"t{item.axes.removeprefix('n')}"
    shape = [tasks, *item.shape[1 if item.axes[0] in "nt" else 0 : -1], out]
    return [b.node("MatMul", [item, weight], axes, shape)]


def heads(b: Builder, item: Item) -> list[Item]:
    """Channels in groups, each with a matrix of its own, as a batched product."""
    size, places = item.size("c"), item.size("l")
    if item.axes != "lc" or size % 2:
        return []
    out = b.pick(1, MOST_CHANNELS // 2)
    parts = transpose(b, reshape(b, item, "lkc", [places, 2, size // 2]), "klc")
    made = b.node("MatMul", [parts, b.matrix(2, size // 2, out)], "klc", [2, places, out])
    return [reshape(b, transpose(b, made, "lkc"), "lc", [places, 2 * out])]


def windows(b: Builder, item: Item) -> list[Item]:
    """Places in windows of 2×2, a step on the channels there, and back."""
    high, broad, size = item.size("h"), item.size("w"), item.size("c")
    if item.axes != "hwc" or high % 2 or broad % 2:
        return []
    parts = reshape(b, item, "hpwkc", [high // 2, 2, broad // 2, 2, size])
    flat = reshape(b, transpose(b, parts, "hwpkc"), "plc", [high * broad // 4, 4, size])
    found = (product, bend, scale)[b.pick(0, 2)](b, flat)[0]
    back = reshape(b, found, "hwpkc", [high // 2, broad // 2, 2, 2, found.size("c")])
    return [reshape(b, transpose(b, back, "hpwkc"), "hwc", [high, broad, found.size("c")])]


def pair(b: Builder, item: Item) -> list[Item | None]:
    """The value and another of its shape, in either order."""
    rest = [one for one in b.items if one.like(item) and one.value is not item.value]
    if not rest:
        return []
    both = [item, rest[b.pick(0, len(rest) - 1)]]
    return list(reversed(both)) if b.chance(0.5) else list(both)


def add(b: Builder, item: Item) -> list[Item]:
    both = pair(b, item)
    return [b.node("Sub" if b.chance(0.25) else "Add", both, item.axes, item.shape)] if both else []


def multiply(b: Builder, item: Item) -> list[Item]:
    """A product of two computed values: not linear."""
    both = pair(b, item)
    return [b.node("Mul", both, item.axes, item.shape)] if both else []


def centre(b: Builder, item: Item) -> list[Item]:
    """Less its own mean over places."""
    if not item.places or np.prod([item.shape[place] for place in item.places]) < 2:
        return []
    shape = [1 if place in item.places else size for place, size in enumerate(item.shape)]
    middle = b.node("ReduceMean", [item, b.integers(*item.places)], item.axes, shape, keepdims=1)
    return [b.node("Sub", [item, middle], item.axes, item.shape)]


def shift(b: Builder, item: Item) -> list[Item]:
    """A constant added: one for all, one for each channel, or one for each element; or the value taken from it."""
    kind = b.pick(0, 4)
    constant = b.constant(b.rng.normal()) if kind == 0 else b.vector(item)
    if kind == 4:
        constant = b.constant(b.rng.normal(size=item.shape))
    inputs = [item.value, constant]
    operator = "Sub" if b.chance(0.3) else "Add"
    return [b.node(operator, inputs[::-1] if b.chance(0.4) else inputs, item.axes, item.shape)]


def scale(b: Builder, item: Item) -> list[Item]:
    """A constant factor: one for all, or one for each channel; a divisor; or the sign."""
    if b.chance(0.1):
        return [b.node("Neg", [item], item.axes, item.shape)]
    constant = b.constant(b.rng.normal()) if b.chance(0.3) else b.vector(item)
    if b.chance(0.2):
        divisor = b.constant(b.rng.uniform(0.5, 2.0, size=()))
        return [b.node("Div", [item, divisor], item.axes, item.shape)]
    inputs = [item.value, constant]
    return [b.node("Mul", inputs[::-1] if b.chance(0.4) else inputs, item.axes, item.shape)]


def mask(b: Builder, item: Item) -> list[Item]:
    """A constant factor for each place: no channel map, and no position operator of the list."""
    if not item.places:
        return []
    shape = [size if place in item.places else 1 for place, size in enumerate(item.shape)]
    return [b.node("Mul", [item, b.constant(b.rng.uniform(0.5, 1.5, size=shape))], item.axes, item.shape)]


def bend(b: Builder, item: Item) -> list[Item]:
    """An activation, or a norm of the channels."""
    last = item.axes[-1] == "c" and item.size("c") > 2
    kinds = ["Relu", "Gelu", "Sigmoid", "Tanh", "Softmax", *["LayerNormalization"] * (4 * last)]
    kind = kinds[b.pick(0, len(kinds) - 1)]
    if kind == "Softmax":
        return [b.node(kind, [item], item.axes, item.shape, axis=item.axes.index("c"))]
    if kind != "LayerNormalization":
        return [b.node(kind, [item], item.axes, item.shape)]
    rows = [b.constant(b.rng.normal(size=item.size("c"))) for _ in range(b.pick(1, 2))]
    return [b.node(kind, [item, *rows], item.axes, item.shape, axis=-1, epsilon=1e-5)]


def gate(b: Builder, item: Item) -> list[Item]:
    """The value times a factor for each image and channel: a sigmoid of its own mean, or another's, over all places."""
    rest = [one for one in b.items if one.axes == item.axes and one.places and one.size("t") in (1, item.size("t"))]
    if not rest or not item.places:
        return []
    source = rest[b.pick(0, len(rest) - 1)]
    shape = [1 if place in source.places else size for place, size in enumerate(source.shape)]
    pooled = b.node("ReduceMean", [source, b.integers(*source.places)], source.axes, shape, keepdims=1)
    place, size = source.axes.index("c"), source.size("c")
    if size != item.size("c") or b.chance(0.5):
        equation = f"{source.axes},cd->{source.axes.replace('c', 'd')}"
        shape = resized(pooled, place, item.size("c"))
        pooled = b.node("Einsum", [pooled, b.matrix(size, item.size("c"))], source.axes, shape, equation=equation)
    return [_gated(b, item, pooled)]


def gates_in_a_row(b: Builder, item: Item) -> list[Item]:
    """Two factors on one path, with a product, or a sum with a constant, between them."""
    for step in (gate, product, gate, product):
        made = step(b, item)
        if not made:
            return []
        item = made[0]
    return [item]


def _gated(b: Builder, item: Item, pooled: Item) -> Item:
    factor = b.node("Sigmoid", [pooled], pooled.axes, pooled.shape)
    inputs = [factor, item] if b.chance(0.4) else [item, factor]
    return b.node("Mul", inputs, item.axes, item.shape)


def task_gates(b: Builder, item: Item) -> list[Item]:
    """The value times a factor for each task and channel, or each task: one source becomes several."""
    if item.axes not in ("lc", "nlc"):
        return []
    tasks, size, first = b.pick(2, TASKS), item.size("c"), item.axes.index("l")
    pooled = b.node("ReduceMean", [item, b.integers(first)], "nc", [1, size], keepdims=int(first == 0))
    each = 1 if b.chance(0.3) else size
    logits = b.node("Gemm", [pooled, b.matrix(size, tasks * each)], "nc", [1, tasks * each])
    factor = b.node("Sigmoid", [logits], "nc", logits.shape)
    shaped = reshape(b, factor, "tlc", [tasks, 1, each])
    return [b.node("Mul", [item, shaped], "tlc", [tasks, item.size("l"), size])]


def attention(b: Builder, item: Item) -> list[Item]:
    """Softmax of scaled products, a value with itself."""
    if item.axes not in ("lc", "nlc", "tlc"):
        return []
    out, lead = b.pick(1, 6), list(item.shape[:-1])
    q, k, v = (_linear(b, item, out) for _ in range(3))
    q = b.node("Mul", [q, b.constant(out**-0.5)], q.axes, q.shape)
    turned = transpose(b, k, item.axes[:-2] + "cl")
    scores = b.node("MatMul", [q, turned], item.axes[:-1] + "p", [*lead, lead[-1]])
    weights = b.node("Softmax", [scores], scores.axes, scores.shape, axis=-1)
    return [b.node("MatMul", [weights, v], item.axes, [*lead, out])]


def _linear(b: Builder, item: Item, out: int) -> Item:
    made: Sequence[Item] = [b.node("MatMul", [item, b.matrix(item.size("c"), out)], item.axes, with_width(item, out))]
    return biased(b, made[0])
