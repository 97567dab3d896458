"""Tiling: the geometry by brute force, and real small networks whose tiled result must equal the untiled one."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesr.errors import ArtifactError, Unsupported
from edgesr.tiling import TilePlan, plan_tiles, run_tiled, tile_for_budget

Floats = NDArray[np.float32]
SIDES = [1, 2, 3, 7, 11, 16, 23, 31, 48, 61]


def image_of(height: int, width: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).random((1, 3, height, width), dtype=np.float32)


def nearest(scale: int):
    def run(image: Floats) -> Floats:
        return image.repeat(scale, axis=2).repeat(scale, axis=3)

    return run


def conv_network(depth: int, scale: int, seed: int = 0):
    """`depth` 3x3 zero-padded convolutions with ReLU, then x`scale`: a receptive radius of exactly `depth`."""
    rng = np.random.default_rng(seed)
    kernels = rng.uniform(0.1, 1, (depth, 3, 3)).astype(np.float32)

    def run(image: Floats) -> Floats:
        for kernel in kernels:
            padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
            h, w = image.shape[2:]
            total = np.zeros_like(image)
            for i, j in itertools.product(range(3), range(3)):
                total += kernel[i, j] * padded[:, :, i : i + h, j : j + w]
            image = np.maximum(total - np.float32(1), 0)
        return nearest(scale)(image)

    return run


def window_network(window: int):
    """Subtracts the mean of each window, as window attention would: depends on the phase of the window grid."""

    def run(image: Floats) -> Floats:
        _, _, h, w = image.shape
        assert h % window == 0, h
        assert w % window == 0, w
        blocks = image.reshape(1, 3, h // window, window, w // window, window)
        return (blocks - blocks.mean(axis=(3, 5), keepdims=True)).reshape(image.shape)

    return run


def untiled(run, image: Floats, scale: int, **rule: int) -> Floats:
    plan = plan_tiles(*image.shape[2:], scale=scale, halo_px=0, tile_hw=None, **rule)
    assert len(plan.boxes) == 1
    return run_tiled(run, image, plan)


def assert_equal_with_distribution(actual: Floats, expected: Floats, about: object) -> None:
    difference = np.abs(actual - expected)
    assert difference.max() == 0, (
        f"{about}: {np.count_nonzero(difference)} of {difference.size} values differ, max {difference.max():.3g}, "
        f"median of those {np.median(difference[difference > 0]):.3g}, first at {np.argwhere(difference)[0]}"
    )


def assert_partition(plan: TilePlan) -> None:
    """Cores cover each pixel once, inputs lie in the padded image, the halo is there unless the image ends."""
    count = np.zeros((plan.height, plan.width), int)
    for box in plan.boxes:
        count[box.core_top : box.core_bottom, box.core_left : box.core_right] += 1
        assert box.core_top < box.core_bottom, box
        assert box.core_left < box.core_right, box
        sides = (
            (box.top, box.core_top, box.core_bottom, plan.tile_hw[0], plan.padded_hw[0], plan.height),
            (box.left, box.core_left, box.core_right, plan.tile_hw[1], plan.padded_hw[1], plan.width),
        )
        for start, core_start, core_end, tile, padded, side in sides:
            assert 0 <= start <= core_start < core_end <= start + tile <= padded, box
            assert core_start - start >= plan.halo_px or core_start == 0, box
            assert start + tile - core_end >= plan.halo_px or core_end == side, box
    assert count.min() == count.max() == 1, f"pixels covered {np.unique(count)} times in {plan}"


@pytest.mark.parametrize("multiple", [1, 4, 8])
@pytest.mark.parametrize("halo_px", [0, 1, 5])
def test_cores_partition_every_image_once(halo_px: int, multiple: int) -> None:
    for height, width, step in itertools.product(SIDES, SIDES, (0, 1, 3)):
        tile = -(-2 * halo_px // multiple) * multiple + multiple * (1 + step)
        plan = plan_tiles(height, width, scale=2, halo_px=halo_px, tile_hw=(tile, tile + multiple), multiple=multiple)
        assert_partition(plan)
        assert all(box.top % multiple == 0 and box.left % multiple == 0 for box in plan.boxes), plan


@pytest.mark.parametrize("height", SIDES)
def test_tiled_convolutions_equal_untiled_for_every_size(height: int) -> None:
    depth, scale = 3, 2
    run = conv_network(depth, scale)
    for width, tile in itertools.product((1, 13, 37), ((7, 9), (12, 8), (31, 16))):
        plan = plan_tiles(height, width, scale=scale, halo_px=depth, tile_hw=tile)
        if plan.padded_hw != (height, width):
            continue  # a tile larger than the image: another border than untiled, see the test of the reflection
        image = image_of(height, width)
        assert_equal_with_distribution(run_tiled(run, image, plan), untiled(run, image, scale), plan)


def test_a_halo_of_one_pixel_too_little_shows() -> None:
    depth, image = 3, image_of(23, 29)
    run = conv_network(depth, 1)
    expected = untiled(run, image, 1)
    enough = plan_tiles(23, 29, scale=1, halo_px=depth, tile_hw=(2 * depth + 1, 2 * depth + 1))
    short = plan_tiles(23, 29, scale=1, halo_px=depth - 1, tile_hw=(2 * depth - 1, 2 * depth - 1))
    assert_equal_with_distribution(run_tiled(run, image, enough), expected, enough)
    assert np.abs(run_tiled(run, image, short) - expected).max() > 0


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (5, 3), (31, 23)])
def test_nearest_neighbour_survives_any_cut(size: tuple[int, int], scale: int) -> None:
    image, run = image_of(*size), nearest(scale)
    for tile in ((1, 1), (4, 5), (64, 64)):
        plan = plan_tiles(*size, scale=scale, halo_px=0, tile_hw=tile)
        assert_equal_with_distribution(run_tiled(run, image, plan), run(image), plan)


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (13, 41), (40, 27), (1, 5)])
def test_window_networks_keep_the_phase_of_their_grid(size: tuple[int, int]) -> None:
    image, run = image_of(*size), window_network(8)
    plan = plan_tiles(*size, scale=1, halo_px=3, tile_hw=(16, 24), multiple=8)
    if plan.padded_hw == tuple(-(-side // 8) * 8 for side in size):
        assert_equal_with_distribution(run_tiled(run, image, plan), untiled(run, image, 1, multiple=8), plan)
    assert run_tiled(run, image, plan).shape == image.shape


def test_image_smaller_than_the_tile_is_reflected_right_and_down_and_cropped() -> None:
    image, seen = image_of(3, 4), []

    def run(tile: Floats) -> Floats:
        seen.append(tile)
        return nearest(2)(tile)

    result = run_tiled(run, image, plan_tiles(3, 4, scale=2, halo_px=9, tile_hw=(5, 6)))
    np.testing.assert_array_equal(seen[0][0, 0], np.pad(image[0, 0], ((0, 2), (0, 2)), mode="reflect"))
    assert seen[0].flags.c_contiguous
    np.testing.assert_array_equal(result, nearest(2)(image))


def test_reflection_works_where_the_pad_is_longer_than_the_image() -> None:
    for size in ((1, 1), (1, 2), (2, 1), (3, 2)):
        image = image_of(*size)
        plan = plan_tiles(*size, scale=3, halo_px=2, tile_hw=None, min_side_px=8, multiple=4)
        assert plan.tile_hw == plan.padded_hw == (8, 8)
        np.testing.assert_array_equal(run_tiled(nearest(3), image, plan), nearest(3)(image))


def test_no_tile_size_means_one_tile_of_the_image_itself() -> None:
    plan = plan_tiles(37, 53, scale=4, halo_px=99, tile_hw=None)
    assert (plan.tile_hw, plan.padded_hw, len(plan.boxes), plan.waste) == ((37, 53), (37, 53), 1, 1.0)


def test_starts_are_spread_evenly_instead_of_leaving_a_sliver() -> None:
    plan = plan_tiles(10, 100, scale=1, halo_px=0, tile_hw=(10, 33))
    widths = [box.core_right - box.core_left for box in plan.boxes]
    assert len(widths) == 4
    assert max(widths) - min(widths) <= 6, widths


def test_every_tile_has_the_same_size_and_nothing_is_padded_when_the_image_is_larger() -> None:
    shapes = set()

    def run(tile: Floats) -> Floats:
        shapes.add(tile.shape)
        return tile

    plan = plan_tiles(61, 47, scale=1, halo_px=4, tile_hw=(20, 24))
    run_tiled(run, image_of(61, 47), plan)
    assert shapes == {(1, 3, 20, 24)}
    assert plan.padded_hw == (61, 47)


def test_halo_that_leaves_no_core_names_the_smallest_tile() -> None:
    with pytest.raises(Unsupported, match="smallest tile side for this network is 21 px"):
        plan_tiles(100, 100, scale=2, halo_px=10, tile_hw=(20, 100))
    plan_tiles(100, 100, scale=2, halo_px=10, tile_hw=(21, 21))
    with pytest.raises(Unsupported, match="smallest tile side for this network is 32 px"):
        plan_tiles(100, 100, scale=2, halo_px=10, tile_hw=(24, 24), multiple=8)
    plan_tiles(100, 100, scale=2, halo_px=10, tile_hw=(32, 32), multiple=8)


@pytest.mark.parametrize(("tile", "nearest_px"), [(12, 16), (30, 32)])
def test_tile_that_does_not_suit_the_network_names_one_that_does(tile: int, nearest_px: int) -> None:
    with pytest.raises(Unsupported, match=f"nearest that fits is {nearest_px} px"):
        plan_tiles(100, 100, scale=2, halo_px=0, tile_hw=(tile, 32), min_side_px=16, multiple=8)


@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("halo_px", [0, 6, 20])
def test_budget_is_kept_and_little_is_computed_twice(halo_px: int, multiple: int) -> None:
    for height, width, budget_mb in itertools.product((97, 480, 1079), (101, 640, 1921), (0.8, 4, 20)):
        rule = {"halo_px": halo_px, "multiple": multiple}
        tile = tile_for_budget(height, width, bytes_per_pixel=100, budget_mb=budget_mb, **rule)
        plan = plan_tiles(height, width, scale=1, tile_hw=tile, **rule)
        about = f"{height}x{width}, {budget_mb} MB: {plan.tile_hw}, {len(plan.boxes)} tiles, waste {plan.waste:.2f}"
        assert plan.tile_hw[0] * plan.tile_hw[1] * 100 <= budget_mb * 1e6, about
        side = (budget_mb * 1e6 / 100) ** 0.5
        ideal = (side / (side - 2 * halo_px)) ** 2
        assert plan.waste <= 1.35 * ideal, about
        assert_partition(plan)


def test_budget_that_holds_the_whole_image_asks_for_no_tile() -> None:
    assert tile_for_budget(100, 100, bytes_per_pixel=100, budget_mb=1, halo_px=8) is None
    assert tile_for_budget(100, 101, bytes_per_pixel=100, budget_mb=1, halo_px=8) is not None
    # The padding counts: 100 px are 104 at the network's input.
    assert tile_for_budget(100, 100, bytes_per_pixel=100, budget_mb=1, halo_px=8, multiple=8) is not None


@pytest.mark.parametrize("budget_mb", [0.04, 0, -1])
def test_budget_below_the_smallest_tile_says_what_is_needed(budget_mb: float) -> None:
    with pytest.raises(Unsupported, match=r"the smallest tile, 21x21 with a halo of 10 px, needs 0\.0441 MB"):
        tile_for_budget(500, 500, bytes_per_pixel=100, budget_mb=budget_mb, halo_px=10)


def test_output_of_the_wrong_scale_is_an_artifact_error() -> None:
    plan = plan_tiles(9, 9, scale=4, halo_px=1, tile_hw=(5, 5))
    with pytest.raises(ArtifactError, match=r"\(1, 3, 10, 10\); for scale 4 it must be \(1, 3, 20, 20\)"):
        run_tiled(nearest(2), image_of(9, 9), plan)


def test_image_of_another_size_than_the_plan_is_refused() -> None:
    with pytest.raises(ValueError, match=r"plan is for \(1, 3, 9, 9\), the image is \(1, 3, 9, 8\)"):
        run_tiled(nearest(2), image_of(9, 8), plan_tiles(9, 9, scale=2, halo_px=0, tile_hw=None))


def test_progress_counts_to_the_number_of_tiles() -> None:
    calls: list[tuple[int, int]] = []
    plan = plan_tiles(20, 20, scale=2, halo_px=1, tile_hw=(10, 12))
    run_tiled(nearest(2), image_of(20, 20), plan, on_tile=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, len(plan.boxes)) for i in range(len(plan.boxes))]
