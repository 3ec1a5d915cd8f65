"""Where ground-truth crops are cut."""

Box = tuple[int, int, int, int]  # left, top, width, height


def tiles(width: int, height: int, *, tile: int) -> list[Box]:
    """Boxes of at most `tile` a side that cover a picture evenly: round(side / tile) of them along each side.

    A picture smaller than `tile` along a side is kept whole along it. Neighbours overlap or leave a gap of less than
    half a tile.
    """
    return [
        (left, top, min(tile, width), min(tile, height))
        for top in _starts(height, tile)
        for left in _starts(width, tile)
    ]


def _starts(side: int, tile: int) -> list[int]:
    if side <= tile:
        return [0]
    count = max(1, round(side / tile))
    if count == 1:
        return [(side - tile) // 2]
    return [round(i * (side - tile) / (count - 1)) for i in range(count)]


def pair_boxes(width: int, height: int, *, size: int, count: int, multiple: int) -> list[Box]:
    """At most `count` boxes of `size` (or the largest multiple of `multiple` that fits) for evaluation pairs."""
    side = min(size, width, height) // multiple * multiple
    boxes = tiles(width, height, tile=side)
    if len(boxes) <= count:
        return boxes
    step = len(boxes) / count
    return [boxes[int((i + 0.5) * step)] for i in range(count)]
