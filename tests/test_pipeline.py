"""What is converted, in which order, and what becomes of what cannot be had."""

from pathlib import Path

import numpy as np
import pytest

from edgesr.errors import UnknownName, Unsupported
from edgesr.planned import plan
from edgesr.targets import DEFAULT_SIZES, TARGETS
from edgesr.targets.listing import explained
from edgesr.types import PRECISIONS
from edgesr.verify import fit


def test_all_is_every_target_once_and_optional() -> None:
    planned = plan("bsrn-s", 4, ["all"], ["fp32", "int8"])
    assert [item.request.target for item in planned] == [name for name in TARGETS for _ in range(2)]
    assert all(item.optional for item in planned)


def test_a_target_that_is_also_named_by_itself_is_not_optional() -> None:
    optional = {item.request.target: item.optional for item in plan("bsrn-s", 4, ["all", "openvino"], ["fp32"])}
    assert optional.pop("openvino") is False
    assert all(optional.values())


def test_targets_without_free_sizes_get_the_default_and_say_so_in_the_name() -> None:
    for item in plan("bsrn-s", 4, ["all"], ["fp32"]):
        free = TARGETS[item.request.target].free_sizes
        assert item.request.sizes == (() if free else DEFAULT_SIZES)
        assert item.request.slug.endswith("dynamic" if free else "256x256")
    assert all(item.request.sizes == ((64, 48),) for item in plan("bsrn-s", 4, ["all"], ["fp32"], ((64, 48),)))


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_does_not_have_is_refused_before_any_work(target: str) -> None:
    info = TARGETS[target]
    for precision in PRECISIONS:
        if precision in info.precisions:
            assert plan("bsrn-s", 4, [target], [precision])[0].request.precision == precision
        else:
            with pytest.raises(Unsupported, match=f"{target} has no {precision}"):
                plan("bsrn-s", 4, [target], [precision])
    with pytest.raises(UnknownName):
        plan("bsrn-s", 4, [target, "openvno"], ["fp32"])


def test_an_io_that_a_target_does_not_have_is_refused() -> None:
    with pytest.raises(Unsupported, match="openvino has no image input and output"):
        plan("bsrn-s", 4, ["openvino"], ["fp32"], io="image")


@pytest.mark.parametrize(("height", "width"), [(10, 50), (40, 40), (64, 20), (33, 47)])
def test_images_are_fitted_to_a_size_and_only_what_is_real_is_compared(height: int, width: int) -> None:
    low = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    high = low.repeat(2, axis=0).repeat(2, axis=1)
    fitted, truth = fit(low, high, 2, (32, 48))
    assert fitted.shape == (32, 48, 3)
    real_height, real_width = min(height, 32), min(width, 48)
    assert truth.shape == (2 * real_height, 2 * real_width, 3)
    assert np.array_equal(fitted[:real_height, :real_width], truth[::2, ::2])
    if height < 32:
        assert np.array_equal(fitted[height], fitted[height - 1])


@pytest.mark.parametrize("target", TARGETS)
def test_every_rewrite_is_a_function_or_module_of_the_target(target: str) -> None:
    """What `edgesr targets --explain` lists exists under that name."""
    row = explained(TARGETS[target])
    if row.missing:
        pytest.skip(row.missing)
    sources = "".join(path.read_text() for path in (Path(__file__).parents[1] / "targets").glob("*.py"))
    assert all(f"def {each.name}(" in sources or f"class {each.name}(" in sources for each in row.rewrites)
    assert all(each.why for each in row.rewrites)
