"""Measuring: fair turns, honest intervals, and a baseline that computes what the authors' code computes."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")
onnx = pytest.importorskip("onnx", reason="needs edgesr[export]")
pytest.importorskip("onnxruntime", reason="needs edgesr[onnxruntime]")

from edgesr.bench import forms as bench  # noqa: E402
from edgesr.bench.official import PlainSource, official  # noqa: E402
from edgesr.errors import EdgesrError, OutputError, Unsupported  # noqa: E402
from edgesr.interleave import Plan, Samples, interleave, speedup  # noqa: E402
from edgesr.models import bsrn, plainusr  # noqa: E402

torch.set_num_threads(1)


def turns(plan: Plan) -> tuple[list[str], dict[str, Samples]]:
    log: list[str] = []
    samples = interleave({name: lambda name=name: log.append(name) for name in "abcde"}, plan)  # type: ignore[misc]
    return log, samples


def test_every_variant_runs_once_per_round_in_changing_order() -> None:
    log, samples = turns(Plan(rounds=6, warmup_rounds=2))
    rounds = [log[start : start + 5] for start in range(0, len(log), 5)]
    assert [sorted(each) for each in rounds] == [[*"abcde"]] * 8
    assert len({tuple(each) for each in rounds}) > 4
    assert {len(each.raw_ns) for each in samples.values()} == {6}
    assert turns(Plan(6, 2))[0] == log
    assert turns(Plan(6, 2, seed=1))[0] != log


def test_progress_counts_warm_up_rounds() -> None:
    calls: list[tuple[int, int]] = []
    interleave({"a": int}, Plan(rounds=3, warmup_rounds=1), lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_cpu_clock_does_not_count_waiting() -> None:
    wait = {"wait": lambda: time.sleep(0.02)}
    assert interleave(wait, Plan(3))["wait"].median_ms >= 20
    assert interleave(wait, Plan(3, clock="cpu"))["wait"].median_ms < 10


def test_median_is_in_milliseconds() -> None:
    assert Samples((1_000_000, 3_000_000, 90_000_000)).median_ms == 3.0


def test_speedup_of_a_noisy_machine_has_a_narrow_interval_if_the_noise_is_shared() -> None:
    random = np.random.default_rng(0)
    shared = random.uniform(1, 3, 40)
    own = random.normal(1, 0.01, (2, 40))
    slow, fast = (200e6 * shared * own[0]).astype(int), (100e6 * shared * own[1]).astype(int)
    ratio = speedup(slow.tolist(), fast.tolist())
    assert ratio.low < 2 < ratio.high
    assert ratio.high - ratio.low < 0.15
    alone = speedup(slow.tolist(), random.permutation(fast).tolist())
    assert alone.high - alone.low > 2 * (ratio.high - ratio.low)


def test_speedup_of_equals_holds_one() -> None:
    random = np.random.default_rng(1)
    ratio = speedup(*random.normal(100e6, 5e6, (2, 30)).astype(int).tolist())
    assert ratio.low <= 1 <= ratio.high


@pytest.mark.parametrize("samples", [([], []), ([1, 2], [1])])
def test_speedup_needs_the_same_rounds(samples: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="same rounds"):
        speedup(*samples)


@pytest.mark.parametrize("size", [(15, 15), (33, 20)])
@pytest.mark.parametrize(
    "network",
    [
        bsrn.forms(bsrn.Config(16, 2, True), 2)["train"],
        plainusr.forms(plainusr.Config((16, 12, 8), 4), 3)["train"],
        plainusr.forms(plainusr.Config((16, 8), None), 2)["deploy"],
    ],
    ids=["bsrn-slim", "plainusr-3", "plainusr-2"],
)
def test_official_graph_computes_the_network(network: Any, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = noise / max(1, parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.3 * noise
    image = torch.rand(1, 3, *size, generator=generator)
    with torch.no_grad():
        expected = network.eval()(image)
        found = official(network, network.fold())(image)
    span = max(1.0, float(expected.max() - expected.min()))
    assert float((found - expected).abs().max()) / span <= 1e-5


def test_official_graph_of_another_network_is_not_made_up() -> None:
    network = bsrn.forms(bsrn.Config(16, 1, False), 2)["train"].eval()
    with pytest.raises(Unsupported, match="this is BSRN"):
        official(network, network.fold())


def operators(opset: int) -> list[str]:
    network = bsrn.forms(bsrn.Config(16, 1, True), 2)["train"].eval()
    source = PlainSource(official(network, network.fold()), (32, 40), opset, name="bsrn", scale=2, min_side_px=15)
    model = onnx.load_from_string(source.float_onnx)
    assert model.opset_import[0].version == opset
    return [node.op_type for node in model.graph.node]


def test_official_export_keeps_linear_layers_and_at_opset_18_decomposes_gelu() -> None:
    before, now = operators(18), operators(20)
    assert {"MatMul", "Transpose", "Concat"} <= {*before}
    assert "Gelu" not in before
    assert before.count("Erf") == now.count("Gelu") > 0


@pytest.fixture(scope="module")
def subject() -> bench.Subject:
    """The small network whose weights come with the package."""
    return bench.Subject("plainusr-t", lambda text: None)


def test_variants_turn_over_each_choice(subject: bench.Subject) -> None:
    variants = list(subject.variants())
    assert len({*variants}) == len(variants)
    assert bench.BASELINE in variants
    for target in bench.FORMS:
        taken = bench.Variant(target, "fp32", ("slices",))
        assert {taken, taken._replace(precision="int8"), taken._replace(forms=("slice_assignment",))} <= {*variants}


@pytest.mark.slow
def test_a_variant_is_run_by_the_runner_of_its_target(subject: bench.Subject) -> None:
    for forms in (bench.OFFICIAL, ("slices", "uint8_output"), ("slices", bench.ROUNDED_OUTSIDE)):
        result: Any = bench.prepare(subject, bench.Variant("onnxruntime", "fp32", forms), 1)()
        assert result.shape == subject.expected.shape
        pixels = result / 255 if result.dtype == np.uint8 else result
        error = float(np.abs(pixels.clip(0, 1) - subject.expected.clip(0, 1)).max())
        assert error < 1e-5 + (0 if forms == bench.OFFICIAL else 0.5 / 255), forms


def test_a_graph_that_computes_something_else_is_not_timed(subject: bench.Subject) -> None:
    with pytest.raises(EdgesrError, match=r"does not compute the network: it differs by 0\.1"):
        bench.check_output(subject.expected + np.float32(0.1), subject.expected, bench.BASELINE)
    with pytest.raises(EdgesrError, match="nan"):
        bench.check_output(subject.expected * np.nan, subject.expected, bench.BASELINE._replace(precision="int8"))


def test_summary_compares_within_a_runtime(subject: bench.Subject) -> None:
    ours = bench.Variant("openvino", "fp32", ("slices",))
    times_ms = {
        bench.BASELINE: 40,
        ours: 10,
        ours._replace(forms=("slice_assignment",)): 15,
        ours._replace(forms=("slices", "uint8_by_numpy")): 11,
        ours._replace(precision="int8"): 5,
    }
    samples = {variant: Samples((ms * 1_000_000,) * 3) for variant, ms in times_ms.items()}
    result = bench.summarize(subject, samples, {"ncnn fp32 slices": "not installed"})
    assert [row.speedup.value for row in result.rows] == [1, 4, pytest.approx(40 / 15), pytest.approx(40 / 11), 8]
    assert [(each.instead.forms, each.speedup.value) for each in result.choices] == [(("slice_assignment",), 1.5)]
    assert [(each.taken.precision, each.instead, each.speedup.value) for each in result.int8] == [("int8", ours, 2)]
    lines = "\n".join(bench.verdicts(result))
    assert "openvino fp32 slices is faster than openvino fp32 slice_assignment: 1.50x (1.50-1.50)" in lines


def test_report_is_written_whole_or_not_at_all(subject: bench.Subject, tmp_path: Path) -> None:
    result = bench.summarize(subject, {bench.BASELINE: Samples((3, 4, 5))}, {})
    content = bench.report([result], Plan(3), threads=1)
    out = tmp_path / "bench.json"
    bench.write(content, out)
    before = json.loads(out.read_text())
    assert before["models"][0]["rows"][0]["raw_ns"] == [3, 4, 5]
    assert before["models"][0]["rows"][0]["variant"] == before["baseline"]
    assert before["machine"]["cpu"]
    with pytest.raises(TypeError):
        bench.write({"bad": {1, 2}}, out)
    assert json.loads(out.read_text()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]
    with pytest.raises(OutputError, match="Cannot write"):
        bench.write(content, out / "bench.json")
