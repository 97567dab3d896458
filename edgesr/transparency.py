"""Colour for what is invisible, so that a network sees no edge where an object ends and nothing begins.

A network that sees the arbitrary colour of invisible pixels (often black) sharpens that edge, and the rim of what is
visible gets a halo (Real-ESRGAN issue 121). So the colour of the rim is carried on outwards.
"""

import numpy as np
from numpy.typing import NDArray

from edgesr.decoding import Floats

REACH_PX = 32
"""As far as most networks look; the farther colours stay what they are."""

_HAS_COLOUR = 7.5 / 255
"""Smallest alpha of a pixel whose colour counts: below, 8 bits of colour multiplied by alpha say too little."""

_NEIGHBOURS = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""(rows, columns) from a pixel: left, right, above, below, then the corners. The order is that of apps/contract.md."""


def colour_carried_on(rgb: Floats, alpha: Floats) -> Floats:
    """(H, W, 3) `rgb`, with the colour of what is visible in the barely visible pixels beside it, `REACH_PX` far.

    In each of as many rounds, every pixel without colour takes that of the first of its neighbours that had one before
    the round. `alpha`: (H, W) in [0, 1]. Colours are copied, never mixed: the result is the same in every precision.
    """
    known = alpha >= _HAS_COLOUR
    if known.all() or not known.any():
        return rgb
    height, width = alpha.shape
    row = width + 2  # a border that is never without colour
    is_open = np.zeros((height + 2, row), bool)
    is_open[1:-1, 1:-1] = ~known
    steps = [down * row + right for down, right in _NEIGHBOURS]
    source = np.arange(is_open.size)
    newest, is_open = _rim(is_open, steps), is_open.reshape(-1)
    for _ in range(REACH_PX):
        found = []
        for step in steps:
            reached = newest - step
            reached = reached[is_open[reached]]
            source[reached] = source[reached + step]
            is_open[reached] = False
            found.append(reached)
        newest = np.concatenate(found)
        if not newest.size:
            break
    rows, columns = np.divmod(source.reshape(-1, row)[1:-1, 1:-1], row)
    carried: Floats = rgb[rows - 1, columns - 1]
    return carried


def _rim(is_open: NDArray[np.bool_], steps: list[int]) -> NDArray[np.int64]:
    """Places, in the flat order, of pixels with colour beside ones without; never in the border."""
    flat = is_open.reshape(-1)
    beside = np.zeros_like(flat)
    without = np.flatnonzero(flat)
    for step in steps:
        beside[without + step] = True
    inner = np.zeros_like(is_open)
    inner[1:-1, 1:-1] = True
    rim: NDArray[np.int64] = np.flatnonzero(beside & ~flat & inner.reshape(-1))
    return rim
