"""The steps of a random network that move, pool and resize: each takes a value and returns what it becomes, nothing where it does not fit."""

from tests.compile.folding.graphs import Builder, Item

MOST_CHANNELS, MOST_SIDE, TASKS = 12, 8, 3


def reshape(b: Builder, item: Item, axes: str, shape: list[int]) -> Item:
    return b.node("Reshape", [item, b.integers(*shape)], axes, shape)


def transpose(b: Builder, item: Item, axes: str) -> Item:
    perm = [item.axes.index(axis) for axis in axes]
    return b.node("Transpose", [item], axes, [item.shape[place] for place in perm], perm=perm)


def resized(item: Item, place: int, size: int) -> list[int]:
    """The shape with one axis of another size."""
    return [*item.shape[:place], size, *item.shape[place + 1 :]]


def permute(b: Builder, item: Item) -> list[Item]:
    axes = "".join(b.rng.permutation(list(item.axes)))
    return [transpose(b, item, axes)] if axes != item.axes else []


def channels_last(b: Builder, item: Item) -> list[Item]:
    axes = item.axes.replace("c", "") + "c"
    return [transpose(b, item, axes)] if axes != item.axes else []


def channels_first(b: Builder, item: Item) -> list[Item]:
    axes = {"nhwc": "nchw", "thwc": "tchw", "nlc": "ncl", "tlc": "tcl"}.get(item.axes)
    return [] if axes is None else [transpose(b, item, axes)]


def merge_places(b: Builder, item: Item) -> list[Item]:
    place = item.axes.find("hw")
    if place < 0:
        return []
    shape = [*item.shape[:place], item.size("h") * item.size("w"), *item.shape[place + 2 :]]
    return [reshape(b, item, item.axes.replace("hw", "l"), shape)]


def split_places(b: Builder, item: Item) -> list[Item]:
    sides = [side for side in (2, 4, 8) if "l" in item.axes and side <= item.size("l") // side * side == item.size("l")]
    sides = [side for side in sides if item.size("l") // side <= MOST_SIDE]
    if not sides:
        return []
    side, place = sides[b.pick(0, len(sides) - 1)], item.axes.index("l")
    shape = [*item.shape[:place], side, item.size("l") // side, *item.shape[place + 1 :]]
    return [reshape(b, item, item.axes.replace("l", "hw"), shape)]


def squeeze(b: Builder, item: Item) -> list[Item]:
    place = item.axes.find("n")
    if place < 0 or len(item.axes) < 3:
        return []
    shape = [*item.shape[:place], *item.shape[place + 1 :]]
    return [b.node("Squeeze", [item, b.integers(place)], item.axes.replace("n", ""), shape)]


def unsqueeze(b: Builder, item: Item) -> list[Item]:
    if "n" in item.axes or "t" in item.axes:
        return []
    return [b.node("Unsqueeze", [item, b.integers(0)], f"n{item.axes}", [1, *item.shape])]


def expand(b: Builder, item: Item) -> list[Item]:
    """The same for every task."""
    if "t" in item.axes or len(item.axes) > 3 or item.axes[0] == "n":
        return []
    shape = [b.pick(2, TASKS), *item.shape]
    return [b.node("Expand", [item, b.integers(*shape)], f"t{item.axes}", shape)]


def cut(b: Builder, item: Item) -> list[Item]:
    """Some channels, or some places."""
    place = b.pick(0, len(item.axes) - 1)
    size = item.shape[place]
    if size < 2 or item.axes[place] == "n":
        return []
    start, step = b.pick(0, size // 2 - 1), b.pick(1, 2)
    end = b.pick(start + 1, size)
    taken = len(range(start, end, step))
    bounds = [b.integers(number) for number in (start, end, place, step)]
    return [b.node("Slice", [item, *bounds], item.axes, resized(item, place, taken))]


def split(b: Builder, item: Item) -> list[Item]:
    size, place = item.size("c"), item.axes.index("c")
    if size < 2:
        return []
    first = b.pick(1, size - 1)
    shapes = [resized(item, place, part) for part in (first, size - first)]
    return b.nodes("Split", [item, b.integers(first, size - first)], item.axes, shapes, axis=place)


def gather(b: Builder, item: Item) -> list[Item]:
    """Channels or places in another order, some of them twice or never."""
    place = b.pick(0, len(item.axes) - 1)
    size = item.shape[place]
    if size < 2 or item.axes[place] == "n":
        return []
    order = b.rng.permutation(size)
    if b.chance(0.5):
        order[0] = order[-1]
    shape = resized(item, place, len(order))
    return [b.node("Gather", [item, b.integers(*map(int, order))], item.axes, shape, axis=place)]


def roll(b: Builder, item: Item) -> list[Item]:
    """Places shifted around, as two Slices and a Concat."""
    if not item.places or item.shape[item.places[-1]] < 2:
        return []
    place = item.places[-1]
    size = item.shape[place]
    at = b.pick(1, size - 1)
    parts = [
        b.node("Slice", [item, *map(b.integers, (start, end, place))], item.axes, resized(item, place, end - start))
        for start, end in ((at, size), (0, at))
    ]
    return [b.node("Concat", parts, item.axes, item.shape, axis=place)]


def concat(b: Builder, item: Item) -> list[Item]:
    """With the channels of another value, or its own once more."""
    place = item.axes.index("c")
    rest = [one for one in b.items if one.axes == item.axes and resized(one, place, 1) == resized(item, place, 1)]
    rest = [one for one in rest if one.size("c") + item.size("c") <= MOST_CHANNELS]
    if not rest:
        return []
    other = rest[b.pick(0, len(rest) - 1)]
    shape = resized(item, place, item.size("c") + other.size("c"))
    return [b.node("Concat", [item, other], item.axes, shape, axis=place - (len(item.axes) if b.chance(0.5) else 0))]


def shuffle(b: Builder, item: Item) -> list[Item]:
    """Channels as two groups, which change places with what is inside them."""
    size = item.size("c")
    if item.axes[-1] != "c" or size % 2 or size < 4:
        return []
    lead = list(item.shape[:-1])
    groups = reshape(b, item, f"{item.axes[:-1]}kc", [*lead, 2, size // 2])
    turned = transpose(b, groups, f"{item.axes[:-1]}ck")
    return [reshape(b, turned, item.axes, [*lead, size])]


def scramble(b: Builder, item: Item) -> list[Item]:
    """A Reshape that mixes channels and places: no channel map."""
    if item.axes != "lc" or item.size("l") > MOST_CHANNELS or item.size("l") == item.size("c"):
        return []
    return [reshape(b, item, "lc", list(reversed(item.shape)))]


def pad(b: Builder, item: Item) -> list[Item]:
    """Zeros around the places, or behind the channels; for all axes, as ONNX Runtime 1.31 permutes a Pad's own axes wrongly."""
    place = item.places[-1] if item.places and b.chance(0.8) else item.axes.index("c")
    most = MOST_CHANNELS if item.axes[place] == "c" else MOST_SIDE
    before = b.pick(0, 1)
    size = item.shape[place] + before + 1
    if size > most:
        return []
    pads = [number if axis == place else 0 for number in (before, 1) for axis in range(len(item.axes))]
    return [b.node("Pad", [item, b.integers(*pads)], item.axes, resized(item, place, size))]


def pool(b: Builder, item: Item) -> list[Item]:
    """Means of 2×2 places."""
    if item.axes not in ("nchw", "tchw") or item.size("h") % 2 or item.size("w") % 2:
        return []
    shape = [*item.shape[:2], item.size("h") // 2, item.size("w") // 2]
    return [b.node("AveragePool", [item], item.axes, shape, kernel_shape=[2, 2], strides=[2, 2])]


def pool_by_mean(b: Builder, item: Item) -> list[Item]:
    """The same as a Reshape and a mean over two axes, channels last."""
    if item.axes not in ("nhwc", "hwc") or item.size("h") % 2 or item.size("w") % 2:
        return []
    lead, tail = list(item.shape[:-3]), [item.size("c")]
    high, wide = item.size("h") // 2, item.size("w") // 2
    parts = reshape(b, item, f"{item.axes[:-3]}hpwkc", [*lead, high, 2, wide, 2, *tail])
    axes = b.integers(len(lead) + 1, len(lead) + 3)
    return [b.node("ReduceMean", [parts, axes], item.axes, [*lead, high, wide, *tail], keepdims=0)]


def resize(b: Builder, item: Item) -> list[Item]:
    """Twice or half the places, bilinear, half-pixel: half of them is the mean of 2×2."""
    if item.axes not in ("nchw", "tchw"):
        return []
    down = b.chance(0.5)
    if (down and any(item.size(axis) % 2 for axis in "hw")) or (not down and max(item.shape[2:]) > MOST_SIDE // 2):
        return []
    factor = 0.5 if down else 2.0
    shape = [*item.shape[:2], *(int(side * factor) for side in item.shape[2:])]
    asked = [None, b.scales(1, 1, factor, factor)] if b.chance(0.5) else [None, None, b.integers(*shape)]
    return [
        b.node("Resize", [item, *asked], item.axes, shape, mode="linear", coordinate_transformation_mode="half_pixel")
    ]


def mean(b: Builder, item: Item) -> list[Item]:
    """Over places, or over tasks."""
    several = [place for place in range(len(item.axes)) if item.axes[place] in "thwlp"]
    if not several:
        return []
    chosen = [place for place in several if b.chance(0.6)] or several
    kept = b.chance(0.5) or len(item.axes) - len(chosen) < 2
    shape = [1 if place in chosen else size for place, size in enumerate(item.shape) if kept or place not in chosen]
    axes = "".join(axis for place, axis in enumerate(item.axes) if kept or place not in chosen)
    operator = "ReduceSum" if b.chance(0.15) else "ReduceMean"
    return [b.node(operator, [item, b.integers(*chosen)], axes, shape, keepdims=int(kept))]


def stack(b: Builder, item: Item) -> list[Item]:
    """Several values as tasks, and sometimes their mean at once."""
    rest = [one for one in b.items if one.like(item) and one.value is not item.value]
    if not rest or "t" in item.axes or "n" in item.axes or len(item.axes) > 3:
        return []
    chosen = [item, *rest[-(TASKS - 1) :]]
    parts = [b.node("Unsqueeze", [one, b.integers(0)], f"t{one.axes}", [1, *one.shape]) for one in chosen]
    stacked = b.node("Concat", parts, f"t{item.axes}", [len(parts), *item.shape], axis=0)
    if b.chance(0.5):
        return [stacked]
    return [b.node("ReduceMean", [stacked, b.integers(0)], item.axes, item.shape, keepdims=0)]


def same(b: Builder, item: Item) -> list[Item]:
    return [b.node("Identity", [item], item.axes, item.shape)]
