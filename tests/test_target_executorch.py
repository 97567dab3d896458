"""ExecuTorch: exact rewrites, what the delegates take, INT8 as the quantized graph says, hostile files."""

import functools
import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")
pytest.importorskip("executorch", reason="needs edgesr[executorch]")

from small_networks import LARGE, NETWORKS, photo, psnr_db, run, source  # noqa: E402

from edgesr.errors import ArtifactError, Unsupported  # noqa: E402
from edgesr.quantization.toolchain import stage  # noqa: E402
from edgesr.runner import InputRule  # noqa: E402
from edgesr.runner.executorch import ExecuTorchRunner, Method, load_runtime, open_contents  # noqa: E402
from edgesr.runner.manifest import Contents  # noqa: E402
from edgesr.targets import convert, executorch, find, float16_graph  # noqa: E402
from edgesr.targets import executorch_rewrites as rewrites  # noqa: E402
from edgesr.targets.executorch_delegates import measure, partitioner, without_random_names  # noqa: E402
from edgesr.targets.export import to_module, to_program  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402
from edgesr.types import Request, Size  # noqa: E402

torch.set_num_threads(1)
SHARED = Path(__file__).parents[2] / "shared"
SIZE = (33, 40)


def contents(files: dict[str, bytes], sizes: tuple[Size, ...] = (SIZE,), precision: str = "fp32") -> Contents:
    rule = InputRule(sizes, 15)
    return Contents("executorch", precision, 2, rule, next(iter(files)), "image", "upscaled", {}, files)


def opened(folder: Path, name: str, precision: Any, sizes: tuple[Size, ...] = (SIZE,)) -> ExecuTorchRunner:
    made = convert(source(name), Request(name, 2, "executorch", precision, sizes), folder)
    files = {file: (folder / file).read_bytes() for file in made.files}
    return open_contents(contents(files, sizes, precision), threads=1)


@functools.cache
def program_bytes() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        convert(source("plainusr"), Request("plainusr", 2, "executorch", "fp32", (SIZE,)), Path(folder))
        return (Path(folder) / "model.pte").read_bytes()


def operators(program: Any) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("rewrite", [row.name for row in rewrites.REWRITES])
def test_each_rewrite_changes_no_bit(name: str, precision: str, rewrite: str) -> None:
    network = source(name).network if precision == "fp32" else source(name).signed_for("executorch")
    program = to_program(network, SIZE)
    for row in rewrites.REWRITES:
        getattr(rewrites, row.name)(program)
        if row.name == rewrite:
            break
    program.graph_module.graph.lint()
    x = photo(7, *SIZE)
    assert np.array_equal(run(program.module(), x), run(network, x))


def test_rewrites_leave_what_they_promise() -> None:
    program = rewrites.rewrite(to_program(source("plainusr").signed_for("executorch"), SIZE))
    names = operators(program)
    assert "aten.split_with_sizes.default" not in names
    assert names.count("aten.slice.Tensor") == 5
    for node in program.graph.nodes:
        if node.target is rewrites.DEQUANTIZE:
            assert len(node.users) == 1
        if node.target is rewrites.ATEN.slice.Tensor and node.args[0].target is rewrites.DEQUANTIZE:
            (reader,) = node.users
            assert reader.args[1:] == node.args[0].args[1:]
        if node.target is rewrites.ATEN.cat.default:
            (reader,) = node.users
            assert all(part.args[1:] == reader.args[1:] for part in node.args[0])


class Joined(torch.nn.Module):
    """A convolution of seven tensors, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(torch.nn.Conv2d(3, 2, 1) for _ in range(7))
        self.last = torch.nn.Conv2d(14, 12, 1)

    def forward(self, x: Any) -> Any:
        joined = torch.cat([torch.nn.functional.gelu(part(x)) for part in self.parts], dim=1)
        return torch.nn.functional.pixel_shuffle(self.last(joined), 2)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_many_tensors_are_joined_in_steps_that_xnnpack_takes(tmp_path: Path, precision: Any) -> None:
    torch.manual_seed(3)
    crops = source("plainusr").calibration
    network = Source(Joined().eval(), name="joined", scale=2, min_side_px=1, calibration=crops)
    form = network.network if precision == "fp32" else network.signed_for("executorch")
    program = rewrites.rewrite(to_program(form, SIZE))
    joins = [node for node in program.graph.nodes if node.target is rewrites.ATEN.cat.default]
    assert [len(node.args[0]) for node in joins] == [5, 3]
    x = photo(5, *SIZE)
    assert np.array_equal(run(program.module(), x), run(form, x))
    made = convert(network, Request("joined", 2, "executorch", precision, (SIZE,)), tmp_path)
    assert "in one piece; nothing left" in made.notes[0]


def test_rewriting_twice_changes_nothing_more_in_a_float_network() -> None:
    program = rewrites.rewrite(to_program(source("plainusr").network, SIZE))
    before = operators(program)
    assert operators(rewrites.rewrite(program)) == before


def test_table_lists_the_rewrites_in_use() -> None:
    for row in executorch.REWRITES:
        (module,) = [module for module in (rewrites, float16_graph) if hasattr(module, row.name)]
        assert callable(getattr(module, row.name))
        assert row.targets
    assert all(row.why.endswith(".") for row in rewrites.REWRITES)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["plainusr-lia", pytest.param("bsrn", marks=pytest.mark.slow), "bsrn-slim"])
def test_everything_is_delegated_and_computes_the_graph(tmp_path: Path, name: str, precision: Any) -> None:
    made = convert(source(name), Request(name, 2, "executorch", precision, (SIZE,)), tmp_path)
    assert made.shares["delegated_macs"] == 1
    assert made.shares.get("int8_macs", 1) == 1
    assert "nothing left" in made.notes[0]
    runner = open_contents(contents({"model.pte": (tmp_path / "model.pte").read_bytes()}, precision=precision), 1)
    x = photo(5, *SIZE)
    exact = run(source(name).network if precision == "fp32" else source(name).quantized, x)
    assert psnr_db(runner(x), exact) > (90 if precision == "fp32" else 48)


READ, WRITTEN = ((step, zero, -128, 127, torch.int8) for step, zero in ((0.0315, 40), (0.0137, -117)))
"""Grids: scale, zero point, least, greatest and type of the integers."""


class RoundedGelu(torch.nn.Module):
    """GELU of one of 256 values, rounded to one of 256."""

    def forward(self, x: Any) -> Any:
        read = rewrites.DEQUANTIZE(rewrites.QUANTIZE(x, *READ), *READ)
        return rewrites.DEQUANTIZE(rewrites.QUANTIZE(torch.nn.functional.gelu(read), *WRITTEN), *WRITTEN)


def test_gelu_between_roundings_is_one_integer_operator() -> None:
    """No float value inside, and for each of the 256 inputs what torch computes."""
    x = (READ[0] * (torch.arange(256.0) - 128 - READ[1])).reshape(1, 1, 16, 16)
    with stage("lower"):
        from executorch.backends.xnnpack.utils.quant_utils import is_tagged_as_implicit_q_dq
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.export(RoundedGelu().eval(), (x,))
        edge = to_edge_transform_and_lower(program, partitioner=[partitioner("executorch", "int8")])
        content = bytes(edge.to_executorch().buffer)
    (part,) = [node for node in edge.exported_program().graph_module.graph.nodes if node.op == "get_attr"]
    inside = getattr(edge.exported_program().graph_module, part.target).original_module.graph_module.graph.nodes
    (gelu,) = [node for node in inside if "gelu" in str(node.target)]
    assert all(is_tagged_as_implicit_q_dq(node) for node in (*gelu.all_input_nodes, *gelu.users))
    made = Method(load_runtime(1), content)(x.numpy())
    assert np.array_equal(made, run(RoundedGelu(), x.numpy()))


def test_an_operator_that_xnnpack_lacks_is_counted_and_still_right(tmp_path: Path) -> None:
    class Cosh(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 3, 1)

        def forward(self, x: Any) -> Any:
            return torch.nn.functional.interpolate(self.last(torch.cosh(self.first(x))), scale_factor=2)

    torch.manual_seed(3)
    network = Source(Cosh().eval(), name="cosh", scale=2, min_side_px=15)
    made = convert(network, Request("cosh", 2, "executorch", "fp32", (SIZE,)), tmp_path)
    assert made.shares["delegated_macs"] == 1
    assert "1 aten.cosh.default" in made.notes[0]
    assert "2 pieces" in made.notes[0]
    runner = open_contents(contents({"model.pte": (tmp_path / "model.pte").read_bytes()}), 1)
    x = photo(5, *SIZE)
    assert np.allclose(runner(x), run(network.network, x), atol=1e-5)


def test_share_counts_convolutions_that_fell_out() -> None:
    """A convolution outside of every delegate counts as not delegated, by its multiply-accumulates."""
    with stage("lower"):
        from executorch.exir import to_edge_transform_and_lower

        network = source("plainusr").network
        edge = to_edge_transform_and_lower(to_program(network, SIZE), partitioner=[])
    found = measure(edge.exported_program().graph_module)
    weights = sum(module.weight.numel() for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    assert (found.delegated, found.integer, found.delegates) == (0, 0, 0)
    assert found.macs == weights * SIZE[0] * SIZE[1]
    assert found.left["aten.convolution.default"] == sum(
        isinstance(module, torch.nn.Conv2d) for module in network.modules()
    )


def test_enumerated_sizes_are_one_program_each(tmp_path: Path) -> None:
    sizes = ((20, 16), (16, 20))
    runner = opened(tmp_path, "plainusr", "fp32", sizes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_16x20.pte", "model_20x16.pte"]
    for size in (*sizes, *sizes):
        x = photo(1, *size)
        assert np.allclose(runner(x), run(source("plainusr").network, x), atol=1e-4)
    with pytest.raises(Unsupported, match="20x16 or 16x20"):
        runner(photo(1, 16, 16))


def test_results_and_inputs_belong_to_the_caller(tmp_path: Path) -> None:
    runner = opened(tmp_path, "plainusr", "fp32")
    first_input, second_input = photo(1, *SIZE), photo(2, *SIZE)
    first = runner(first_input)
    kept = first.copy()
    second = runner(second_input)
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)
    first_input.flags.writeable = False
    assert np.array_equal(runner(first_input), kept)
    strided = np.ascontiguousarray(first_input.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.array_equal(runner(strided), kept)
    assert runner.describe()["threads"] == "1"
    assert runner.describe()["runtime"].startswith("executorch 1.")


def test_a_program_runs_without_the_compilers_of_torch_and_executorch(tmp_path: Path) -> None:
    """Whose import takes longer than all that a runner does."""
    (tmp_path / "model.pte").write_bytes(program_bytes())
    code = f"""
import sys
from pathlib import Path
import numpy as np
from edgesr.runner.executorch import Method, load_runtime
method = Method(load_runtime(1), Path({str(tmp_path / "model.pte")!r}).read_bytes())
print(method(np.zeros((1, 3, *{SIZE}), np.float32)).shape)
print([name for name in ("executorch.exir", "torch._dynamo", "torchao") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str((1, 3, 2 * SIZE[0], 2 * SIZE[1])), "[]"]


@pytest.mark.parametrize("length", [0, 7, 40, 100, -1, -4096])
def test_a_file_that_ends_early_is_refused(length: int) -> None:
    with pytest.raises(ArtifactError, match=r"model\.pte"):
        open_contents(contents({"model.pte": program_bytes()[:length]}), 1)


@pytest.mark.parametrize("content", [b"PK\3\4" + bytes(200), bytes(5000), b"\x3c\0\0\0ET12eh00" + b"\xff" * 400])
def test_a_file_that_is_no_program_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"model\.pte"):
        open_contents(contents({"model.pte": content}), 1)


def test_a_broken_table_in_a_program_is_refused() -> None:
    content = bytearray(program_bytes())
    content[64:600] = b"\x7f" * 536
    with pytest.raises(ArtifactError, match="cannot load"):
        open_contents(contents({"model.pte": bytes(content)}), 1)


def test_programs_of_other_sizes_than_the_manifest_says_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"16x16.*33x40 found"):
        open_contents(contents({"model.pte": program_bytes()}, ((16, 16),)), 1)
    made = contents({"model.pte": program_bytes()})
    with pytest.raises(ArtifactError, match="do not match"):
        open_contents(replace(made, accepts=InputRule((), 15)), 1)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("device", ["coreml", "vulkan"])
def test_programs_for_devices(tmp_path: Path, device: str, precision: Any, capfd: pytest.CaptureFixture[str]) -> None:
    if device == "coreml":
        pytest.importorskip("coremltools", reason="needs edgesr[executorch-coreml]")
    from executorch.exir._serialize._program import deserialize_pte_binary

    contents = []
    for part in ("a", "b"):
        folder = tmp_path / part
        folder.mkdir()
        request = Request("plainusr-lia", 2, f"executorch-{device}", precision, (SIZE,))
        made = convert(source("plainusr-lia"), request, folder)
        contents.append((folder / made.main).read_bytes())
    assert contents[0] == contents[1]
    assert capfd.readouterr() == ("", "")
    for trace in (str(tmp_path).encode(), b"debug_handle", b'"Operation"'):
        assert trace not in contents[0]
    plan = deserialize_pte_binary(contents[0]).program.execution_plan[0]
    assert [delegate.id.lower() for delegate in plan.delegates] == [f"{device}backend"]
    assert plan.operators == []
    assert made.shares["delegated_macs"] == 1
    assert made.shares.get("int8_macs", 1) == 1
    assert "not run" in made.notes[1]


class Largest(torch.fx.Interpreter):
    """The largest absolute value of everything that a graph computes."""

    value = 0.0

    def run_node(self, node: Any) -> Any:
        result = super().run_node(node)
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.value = max(self.value, float(result.abs().max()))
        return result


@pytest.mark.parametrize(("target", "precision"), executorch.ON_FLOAT16)
@pytest.mark.parametrize("name", LARGE)
def test_device_programs_on_float16_do_not_overflow(
    name: str, target: str, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = source(name, LARGE[name])
    request = Request(name, 2, target, precision, (SIZE,))
    found = []
    for rewritten in (True, False):
        if not rewritten:
            monkeypatch.setattr(float16_graph, "keep_in_range", lambda graph: None)
        largest_seen = Largest(to_module(executorch._program(network, request, SIZE)))
        with torch.no_grad():
            largest_seen.run(torch.from_numpy(photo(5, *SIZE)))
        found.append(largest_seen.value)
    assert found[0] < 65504 < found[1]


def test_device_programs_are_opened_nowhere_here() -> None:
    from edgesr.runner.opening import RUNTIMES

    for device in ("coreml", "vulkan"):
        assert find(f"executorch-{device}").runtime is None
        assert f"executorch-{device}" not in RUNTIMES


def test_conversion_leaves_the_root_logger_as_it_was(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    convert(source("plainusr"), Request("plainusr", 2, "executorch-vulkan", "fp32", (SIZE,)), tmp_path)
    assert (root.level, list(root.handlers)) == before


def test_random_names_become_the_same_for_the_same_content() -> None:
    def package(first: str, second: str, weights: bytes) -> bytes:
        bodies = {first: '{\n"name": "weights"\n}', second: '{\n"name": "model.mlmodel"\n}'}
        entries = ", ".join(f'"{name}": {bodies[name]}' for name in sorted(bodies))
        return f"{entries} {json.dumps({'root': second})}".encode() + weights

    a, b = "0d2c0868-ba9a-46e0-9e83-1613977ac456", "31f9ba9c-faeb-4008-b9d8-032846c7caa7"
    one = without_random_names(package(a, b, b"1"))
    assert one == without_random_names(package(b, a, b"1"))
    assert one != without_random_names(package(a, b, b"2"))[: len(one)]
    assert len(one) == len(package(a, b, b"1"))
    assert a.encode() not in one


def test_free_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="fixed sizes"):
        convert(source("plainusr"), Request("plainusr", 2, "executorch", "fp32"), tmp_path)
    with pytest.raises(Unsupported, match="no float16 GELU"):
        convert(source("plainusr"), Request("plainusr", 2, "executorch", "fp16", (SIZE,)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least_db"), [("plainusr-t", 48), ("bsrn-s", 44)])
def test_int8_on_photos_is_what_the_quantized_graph_says(tmp_path: Path, name: str, least_db: float) -> None:
    """But for roundings that fall on the other side, which the deeper network carries further."""
    folder = SHARED / "data" / "eval" / "Set5" / "LRx4"
    if not folder.exists():
        pytest.skip(f"needs the photos in {folder}")
    from edgesr.datasets import images_in, read_rgb
    from edgesr.models.weights import load
    from edgesr.quantization import kept

    photos = [read_rgb(file)[:56, :56] for file in images_in(folder)]
    loaded = load(name, 4)
    recipe = kept.shipped(loaded.spec, loaded.provenance.sha256)
    network = Source(loaded.folded, name=name, scale=4, min_side_px=loaded.spec.min_side_px, recipe=recipe)
    convert(network, Request(name, 4, "executorch", "int8", ((56, 56),)), tmp_path)
    made = contents({"model.pte": (tmp_path / "model.pte").read_bytes()}, ((56, 56),), "int8")
    runner = open_contents(made, 1)
    for image in photos:
        x = np.ascontiguousarray(image.transpose(2, 0, 1)[None]).astype(np.float32) / 255
        found, exact = runner(x), run(network.quantized, x)
        off = np.bincount(
            np.abs(np.round(np.clip(found, 0, 1) * 255) - np.round(np.clip(exact, 0, 1) * 255)).astype(int).ravel()
        )
        assert psnr_db(found, exact) > least_db, off
