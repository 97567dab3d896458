"""The INT8 contract: what may be lost is said before, measured in the runtime, and kept or refused."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

from listeners import Heard  # noqa: E402

from edgesr import advice, datasets  # noqa: E402
from edgesr.artifact import Proof, SetQuality, read_manifest  # noqa: E402
from edgesr.errors import ArtifactError, QualityError, UsageError  # noqa: E402
from edgesr.interleave import Ratio  # noqa: E402
from edgesr.metrics import to_input  # noqa: E402
from edgesr.models.files import sha256_of, shipped_file  # noqa: E402
from edgesr.models.registry import SPECS, ModelSpec  # noqa: E402
from edgesr.pipeline import Session, convert_all  # noqa: E402
from edgesr.planned import plan  # noqa: E402
from edgesr.quantization import kept  # noqa: E402
from edgesr.quantization import recipe as recipes  # noqa: E402
from edgesr.quantization.settings import EFFORTS, Settings  # noqa: E402
from edgesr.runner.onnxruntime import EXACT_PRODUCTS  # noqa: E402
from edgesr.runner.openvino import HINT  # noqa: E402
from edgesr.verify import Limit, check_limit, lost  # noqa: E402

MODEL = "plainusr-t"
PINNED = {"plainusr-t": 0.048, "plainusr-m": 0.040}
"""What they lost on the mean of Set5, Set14 and DIV2K crops (official weights) when this was written, dB."""
PINNED_SHIPPED = {"bsrn-s": 0.036, "ditn-real": 0.048, "elan-light": 0.026, "plainusr-m": 0.035, "plainusr-t": 0.032}
"""Of the recipes in the package, for the weights in the package, on Set5 and Set14."""
SLOW = ("elan-light",)
"""Minutes in both runtimes on both sets: it is converted to OpenVINO and judged on Set5 alone."""
MARGIN_DB = 0.03


LOOSE = Limit(3, 6)
"""What ranges alone keep."""


def proof(*drops: tuple[float, float]) -> Proof:
    sets = [
        SetQuality(f"set{index}", 5, "paper-y", 30.0 - mean, 30.0, mean, "photo", worst)
        for index, (mean, worst) in enumerate(drops)
    ]
    return Proof(3, 45.0, 40.0, tuple(sets), {"runtime": "none"})


def test_a_contract_looks_at_the_mean_of_the_sets_and_at_the_worst_image() -> None:
    assert lost(proof((0.1, 0.2), (0.0, 0.4))) == (pytest.approx(0.05), 0.4)
    assert Limit(0.05, 0.4).holds(proof((0.1, 0.2), (0.0, 0.4)))
    assert not Limit(0.049, 0.4).holds(proof((0.1, 0.2), (0.0, 0.4)))
    assert not Limit(0.05, 0.39).holds(proof((0.1, 0.2), (0.0, 0.4)))
    with pytest.raises(QualityError, match=r"loses 0\.050 dB on the mean \(allowed 0\.01\).*set1/photo"):
        check_limit(proof((0.1, 0.2), (0.0, 0.4)), Limit(0.01), "slug")


def test_efforts_only_grow() -> None:
    assert EFFORTS[0].fit is None
    assert [effort.float_work for effort in EFFORTS] == sorted(effort.float_work for effort in EFFORTS)
    assert [effort.split_work for effort in EFFORTS] == sorted(effort.split_work for effort in EFFORTS)
    assert [effort.rescale for effort in EFFORTS] == sorted(effort.rescale for effort in EFFORTS)
    assert [effort.split_reads for effort in EFFORTS] == sorted(effort.split_reads for effort in EFFORTS)
    fits = [effort.fit for effort in EFFORTS if effort.fit is not None]
    assert len(fits) == len(EFFORTS) - 1
    assert [fit.steps for fit in fits] == sorted(fit.steps for fit in fits)


def save_pictures(folder: Path) -> None:
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for index, picture in enumerate(datasets.generated_pictures(5, 64)):
        Image.fromarray(picture).save(folder / f"{index}.png")


@pytest.mark.timeout(600)
def test_a_recipe_is_made_once_and_serves_targets_that_do_not_run_here(tmp_path: Path) -> None:
    """The contract of such a target is judged by the graph in torch; the next session finds the recipe again."""
    planned = plan(MODEL, 4, ["executorch-vulkan", "onnxruntime"], ["int8"])
    first, second, calib = Heard(), Heard(), tmp_path / "calib"
    save_pictures(calib)
    session = Session(MODEL, calib=calib, int8=True, listener=first)
    outcome = convert_all(session, planned, tmp_path, LOOSE, advise=True)
    assert outcome.first_error is None
    advised = [text.strip() for text in first.said if "on this machine" in text]
    assert len(advised) == 1, "only ONNX Runtime runs here"
    assert re.match(r"onnxruntime: on this machine INT8 runs at (only )?\d\.\d\d times the speed of fp16", advised[0])
    manifests = [read_manifest(tmp_path / row.slug) for row in outcome.rows]
    assert [manifest.proof is None for manifest in manifests] == [True, False]
    assert manifests[0].recipe == manifests[1].recipe
    assert [text for text in first.said if text.startswith("Quantizing")] == [
        f"Quantizing {MODEL}: effort 1 of {len(EFFORTS)} ..."
    ]
    Session(MODEL, calib=calib, int8=True, listener=second).quantize(LOOSE)
    assert [text.split(" (")[0] for text in second.said if text.startswith("Quantizing")] == [
        f"Quantizing {MODEL}: effort 1 of {len(EFFORTS)}, made before"
    ]


SHIPPED = [spec for spec in SPECS if shipped_file(spec) is not None]


@pytest.mark.parametrize("spec", SHIPPED, ids=[spec.key for spec in SHIPPED])
def test_weights_in_the_package_bring_a_recipe_for_them_alone(spec: ModelSpec) -> None:
    weights = shipped_file(spec)
    assert weights is not None
    found = kept.shipped(spec, sha256_of(weights))
    assert found is not None, "made by the weights that were there before? See CONTRIBUTING.md"
    assert (found.facts.model, found.facts.scale) == (spec.name, spec.scale)
    assert kept.shipped(spec, "0" * 64) is None


def test_the_recipe_in_the_package_keeps_the_default_contract_at_once(tmp_path: Path) -> None:
    heard = Heard()
    (item,) = plan(MODEL, 4, ["onnxruntime"], ["int8"])
    outcome = convert_all(Session(MODEL, int8=True, listener=heard), [item], tmp_path, Limit())
    assert outcome.first_error is None
    assert not any(text.startswith("Quantizing") for text in heard.said)
    proof = read_manifest(tmp_path / outcome.rows[0].slug).proof
    assert proof is not None
    assert Limit().holds(proof)


def test_a_contract_that_cannot_be_kept_says_the_best_that_was_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every target; why each recipe is refused is told once."""
    monkeypatch.setattr("edgesr.quantization.settings.EFFORTS", (Settings(), Settings(0.03)))
    heard, planned = Heard(), plan(MODEL, 4, ["onnxruntime", "openvino"], ["int8"])
    session = Session(MODEL, int8=True, listener=heard)
    for item in planned:
        with pytest.raises(QualityError, match=r"keep the contract. The best it reached: .* \(allowed 0\.0001\)"):
            session.convert(item.request, tmp_path, Limit(0.0001))
    assert list(tmp_path.iterdir()) == []
    refused = [text.partition(":")[0].strip() for text in heard.said if "(allowed 0.0001)" in text]
    trained = "Recipe in the package, trained for int8 (1500 steps)"
    assert refused == [trained, "Effort 1 of 2", "Effort 2 of 2"]


def test_lesser_efforts_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the recipe in the package with them."""
    monkeypatch.setattr("edgesr.quantization.settings.EFFORTS", (Settings(), Settings(0.03)))
    heard = Heard()
    session = Session(MODEL, int8=True, listener=heard)
    recipe, found = session.quantize(LOOSE, 2)
    begun = [text for text in heard.said if text.startswith(("Quantizing", "INT8 of"))]
    assert begun == [f"Quantizing {MODEL}: effort 2 of 2 ..."]
    assert recipe.facts.settings["float_work"] == 0.03
    assert lost(found)[0] > 0
    for effort in (0, 3):
        with pytest.raises(UsageError, match=f"no effort {effort}: efforts are 1 to 2"):
            session.quantize(LOOSE, effort)


def test_fp16_is_computed_in_float32_where_bfloat16_is_too_far_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said, and written into the manifest; other targets compute in one way."""
    heard = Heard()
    session = Session(MODEL, listener=heard)
    half, other = plan(MODEL, 4, ["openvino", "onnxruntime"], ["fp16"])
    row = session.convert(half.request, tmp_path)
    assert row.fidelity_db is not None
    assert row.fidelity_db >= 50
    assert read_manifest(tmp_path / row.slug).runtime_options[HINT] == "bf16"
    monkeypatch.setattr("edgesr.verify.FP16_FIDELITY_DB", 99.0)
    again = session.convert(half.request, tmp_path)
    manifest = read_manifest(tmp_path / again.slug)
    assert manifest.runtime_options[HINT] == "f32"
    assert manifest.notes[0] == "float16 weights, computed in float32: bfloat16 is too coarse for this network."
    (said,) = [text for text in heard.said if "Again" in text]
    assert "wanted: 99 dB). Again, computed in float32" in said
    assert session.convert(other.request, tmp_path).status == "done"


def test_what_is_not_integer_is_computed_in_float32_if_the_contract_needs_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO takes bfloat16 where the CPU has it, unless that is refused; other targets have no such choice."""
    refused: set[str] = set()

    def refuse_once(found: Proof, limit: Limit, name: str) -> None:
        if "int8" in name and name not in refused:
            refused.add(name)
            raise QualityError("too much")
        check_limit(found, limit, name)

    session, limit = Session(MODEL, int8=True), Limit()
    exact, other = plan(MODEL, 4, ["openvino", "onnxruntime"], ["int8"])
    first = session.convert(exact.request, tmp_path, limit)
    assert read_manifest(tmp_path / first.slug).runtime_options[HINT] == "bf16"
    monkeypatch.setattr("edgesr.verify.check_limit", refuse_once)
    again = session.convert(exact.request, tmp_path, limit)
    assert read_manifest(tmp_path / again.slug).runtime_options[HINT] == "f32"
    monkeypatch.setattr("edgesr.quantization.settings.EFFORTS", ())
    with pytest.raises(QualityError, match="too much"):
        Session(MODEL, int8=True).convert(other.request, tmp_path, limit)


def test_images_that_judge_do_not_calibrate_unnoticed(tmp_path: Path) -> None:
    from PIL import Image

    heard = Heard()
    save_pictures(tmp_path)
    pair = next(iter(datasets.built_in_set(4)))
    Image.fromarray(pair.low).save(tmp_path / "judge.png")
    Session(MODEL, calib=tmp_path, int8=True, listener=heard)
    assert any("Warning: 1 of 6 calibration images" in text for text in heard.said)


def test_float_is_advised_where_it_is_surely_faster() -> None:
    assert "take --precision fp16" in advice.sentence("openvino", "fp16", (64, 96), Ratio(0.9, 0.85, 0.95))
    assert "96x64 input" in advice.sentence("openvino", "fp16", (64, 96), Ratio(0.9, 0.85, 0.95))
    for ratio in (Ratio(0.98, 0.9, 1.05), Ratio(1.5, 1.4, 1.6)):
        assert "take" not in advice.sentence("openvino", "fp16", (64, 96), ratio)
    assert {target: advice.rival(target) for target in ("openvino", "executorch", "coreml", "executorch-vulkan")} == {
        "openvino": "fp16",
        "executorch": "fp32",
        "coreml": None,
        "executorch-vulkan": None,
    }


@pytest.fixture(scope="module")
def quantized(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Any, Proof, Path]:
    """Session, recipe, its proof, its file: made as `edgesr quantize` does, in a process of one thread.

    The order of sums changes with the number of threads, and where a fit ends with it.
    """
    session = Session(MODEL, int8=True, **official(shared, "PlainUSRT_Rep_x4.pth"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        recipe, found = session.quantize(Limit(PINNED[MODEL] + MARGIN_DB))
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    recipes.save(recipe, path)
    return Session(MODEL, int8=True, recipe=path, **official(shared, "PlainUSRT_Rep_x4.pth")), recipe, found, path


def official(shared: Path, weights: str) -> dict[str, Path]:
    return {
        "weights": shared / "weights" / "PlainUSR" / weights,
        "calib": shared / "data" / "calib",
        "data": shared / "data" / "eval",
    }


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_drop_is_what_it_was(quantized: tuple[Session, Any, Proof, Path], tmp_path: Path) -> None:
    """Measured in two runtimes in their fast modes, within 0.02 dB of the graph, at least 95 % of the work in INT8."""
    session, recipe, found, _ = quantized
    mean_db, worst_db = lost(found)
    assert mean_db <= PINNED[MODEL] + MARGIN_DB
    assert worst_db <= 0.5
    assert recipe.facts.integer_share >= 0.95
    planned = plan(MODEL, 4, ["onnxruntime", "openvino"], ["int8"])
    outcome = convert_all(session, planned, tmp_path, Limit(PINNED[MODEL] + MARGIN_DB))
    assert outcome.first_error is None
    for row in outcome.rows:
        manifest = read_manifest(tmp_path / row.slug)
        assert manifest.proof is not None
        assert lost(manifest.proof)[0] == pytest.approx(mean_db, abs=0.02)
        assert all(len(each.drops_db) == each.images for each in manifest.proof.sets)
        assert manifest.recipe is not None
        assert manifest.recipe["settings"] == recipe.facts.settings


@pytest.mark.slow
@pytest.mark.skipif("EDGESR_LONG_TESTS" not in os.environ, reason="a quarter of an hour: EDGESR_LONG_TESTS=1 runs it")
@pytest.mark.timeout(2400)
def test_the_third_effort_loses_what_it_lost(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two runtimes in their fast modes. plainusr-m needs more than lesser efforts, and no greater one."""
    model, limit = "plainusr-m", Limit(PINNED["plainusr-m"] + MARGIN_DB)
    monkeypatch.setattr("edgesr.quantization.settings.EFFORTS", EFFORTS[2:3])
    session = Session(model, int8=True, **official(shared, "PlainUSRM_Rep_x4.pth"))
    outcome = convert_all(session, plan(model, 4, ["onnxruntime", "openvino"], ["int8"]), tmp_path, limit)
    assert outcome.first_error is None
    for row in outcome.rows:
        manifest = read_manifest(tmp_path / row.slug)
        assert manifest.shares["int8_macs"] >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("model", PINNED_SHIPPED)
def test_recipes_in_the_package_lose_what_they_lost(model: str, shared: Path, tmp_path: Path) -> None:
    """In the runtimes' fast modes, through the command's own way."""
    data = tmp_path / "sets"
    data.mkdir()
    slow = model in SLOW
    for name in ["Set5"] if slow else ["Set5", "Set14"]:
        (data / name).symlink_to(shared / "data" / "eval" / name)
    heard = Heard()
    session = Session(model, int8=True, data=data, listener=heard)
    limit = Limit(PINNED_SHIPPED[model] + MARGIN_DB)
    sizes = () if session.spec.multiple_px == 1 else ((96, 96),)
    runtimes = ["openvino"] if slow else ["onnxruntime", "openvino"]
    outcome = convert_all(session, plan(model, 4, runtimes, ["int8"], sizes), tmp_path, limit)
    assert outcome.first_error is None
    recipe = kept.shipped(session.spec, session.loaded.provenance.sha256)
    assert recipe is not None
    assert recipe.facts.integer_share >= 0.95
    steps = recipe.facts.trained_steps
    assert steps > 0
    assert f"INT8 of {model} x4: recipe in the package, trained for INT8 ({steps} steps)." in heard.said
    for row in outcome.rows:
        manifest = read_manifest(tmp_path / row.slug)
        assert manifest.recipe is not None
        assert manifest.recipe["calibration"] == recipe.facts.calibration


@pytest.mark.slow
def test_flat_images_come_out_flat(quantized: tuple[Session, Any, Proof, Path]) -> None:
    """In 8-bit levels, as files hold them; 32 px from the sides, as in docs/quality.md."""
    networks = (quantized[0].source.quantized, quantized[0].loaded.folded)
    for level in (0, 128, 255):
        image = torch.full((1, 3, 96, 96), level / 255)
        with torch.no_grad():
            found, exact = (network(image)[..., 128:-128, 128:-128].clamp(0, 1) * 255 for network in networks)
        assert (found.round() - exact.round()).abs().max() <= 1, f"level {level}"


@pytest.mark.slow
def test_the_fast_mode_of_onnxruntime_loses_nothing(quantized: tuple[Session, Any, Proof, Path]) -> None:
    import onnxruntime

    content = quantized[0].source.quantized_onnx
    levels = onnxruntime.GraphOptimizationLevel
    errors = []
    for pair in list(datasets.built_in_set(4)):
        x = to_input(pair.low)
        exact = quantized[0].network(x)
        outputs = []
        for level in (levels.ORT_ENABLE_ALL, levels.ORT_DISABLE_ALL):
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = level
            options.add_session_config_entry(EXACT_PRODUCTS, "1")
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            outputs.append(session.run(None, {"image": x})[0])
        errors.append([float(np.mean((output - exact) ** 2)) for output in outputs])
    fast, exactly = np.mean(errors, axis=0)
    assert abs(10 * np.log10(fast / exactly)) < 0.05, "error against float32, dB: fast to unoptimised mode"


@pytest.mark.slow
def test_a_recipe_of_other_weights_is_refused(quantized: tuple[Session, Any, Proof, Path]) -> None:
    with pytest.raises(ArtifactError, match="was made for other weights"):
        Session(MODEL, int8=True, recipe=quantized[3])
    with pytest.raises(ArtifactError, match="is a recipe for plainusr-t x4, not for bsrn-s x4"):
        Session("bsrn-s", int8=True, recipe=quantized[3])
