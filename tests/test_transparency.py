"""Colour for what is invisible."""

import numpy as np
import torch

from edgesr.decoding import Floats
from edgesr.images import Photo, upscale_photo
from edgesr.models.files import shipped_file
from edgesr.models.registry import find
from edgesr.models.weights import load
from edgesr.transparency import REACH_PX, colour_carried_on


def test_the_rim_has_the_colour_that_it_has_without_transparency() -> None:
    """The network sharpens an edge to the black of invisible pixels, and it did so into the rim."""
    network = load("plainusr-m", 4, shipped_file(find("plainusr-m"))).network.eval()

    def run(image: Floats) -> Floats:
        with torch.no_grad():
            enlarged: Floats = network(torch.from_numpy(image)).numpy()
        return enlarged

    y, x = np.mgrid[:48, :48]
    rgb = np.stack([0.7 + 0.2 * np.sin(x / 5), 0.5 + 0.1 * np.cos(y / 4), 0.3 + 0 * x], axis=2).astype(np.float32)
    alpha = (np.hypot(y - 23.5, x - 23.5) < 16).astype(np.float32)
    cut_out = upscale_photo(Photo(rgb * alpha[..., None], alpha=alpha), run, 4)
    assert cut_out.alpha is not None
    off = np.abs(cut_out.rgb - upscale_photo(Photo(rgb), run, 4).rgb)[cut_out.alpha > 0.25]
    assert off.max() < 0.06


def test_colour_is_carried_on_round_by_round() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.random((50, 45, 3), dtype=np.float32)
    levels = rng.choice([0, 7, 8, 255], (50, 45), p=[0.7, 0.296, 0.002, 0.002])
    alpha = np.where(np.arange(45) < 8, levels, levels % 8).astype(np.float32) / 255
    expected, known = rgb.copy(), alpha > 7.5 / 255
    for _ in range(REACH_PX):
        before = known.copy()
        for row, column in np.argwhere(~before):
            for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)):
                at = row + down, column + right
                if 0 <= at[0] < 50 and 0 <= at[1] < 45 and before[at]:
                    expected[row, column], known[row, column] = expected[at], True
                    break
    np.testing.assert_array_equal(colour_carried_on(rgb, alpha), expected)
    assert 0 < np.mean(known) < 1
    assert len(np.unique(expected.reshape(-1, 3), axis=0)) > 100


def test_colour_is_carried_so_far_and_no_farther() -> None:
    rgb, alpha = np.zeros((3, 80, 3), np.float32), np.zeros((3, 80), np.float32)
    rgb[:, 40], alpha[:, 40] = 1, 1
    assert np.flatnonzero(colour_carried_on(rgb, alpha)[1, :, 0]).tolist() == list(range(40 - REACH_PX, 41 + REACH_PX))
