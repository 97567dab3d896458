"""INT8 recipes: the graph is prepared exactly, errors are predicted, fitted, written down and applied everywhere."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

from small_networks import (  # noqa: E402
    MIN_SIDE_PX,
    NETWORKS,
    SCALE,
    check_target,
    crops,
    photo,
    psnr_db,
    run,
    source,
)

from edgesr.errors import ArtifactError  # noqa: E402
from edgesr.models.registry import find as find_model  # noqa: E402
from edgesr.quantization import kept  # noqa: E402
from edgesr.quantization import recipe as recipes  # noqa: E402
from edgesr.quantization.distillation import faded, stretched  # noqa: E402
from edgesr.quantization.equalization import equalize, flip_one_sided  # noqa: E402
from edgesr.quantization.mixed import choose_float, work_shares  # noqa: E402
from edgesr.quantization.prepared import (  # noqa: E402
    convolutions,
    factors,
    is_image,
    name_of,
    prepare,
    source_of,
    tensor_of,
)
from edgesr.quantization.recipe import Grid, Recipe  # noqa: E402
from edgesr.quantization.recipe_float import unrounded  # noqa: E402
from edgesr.quantization.recipe_graph import apply  # noqa: E402
from edgesr.quantization.rounding import Rounded  # noqa: E402
from edgesr.quantization.sensitivity import measure  # noqa: E402
from edgesr.quantization.settings import Fit, Settings  # noqa: E402
from edgesr.quantization.unfinished import Unfinished  # noqa: E402
from edgesr.targets import TARGETS, onnx_graph  # noqa: E402
from edgesr.targets.export import example_input, free_sides  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402

torch.set_num_threads(1)

QUICK = Settings(0.1, Fit(steps=12, batch=2, side_px=32, warmup=2, extremes=0.2, faded=0.2, flat=0.2))
X = photo(9, 40, 48)


def prepared(name: str) -> Any:
    return prepare(source(name).network, example_input(), free_sides())


@functools.cache
def found(name: str, settings: Settings = QUICK) -> Recipe:
    made = source(name).find_recipe(settings, lambda step, done, total: None)
    return recipes.recipe_of(made, name, SCALE, "0" * 64, {"fingerprint": "f"}, settings)


@functools.cache
def with_recipe(name: str, settings: Settings = QUICK) -> Source:
    return Source(
        source(name).network, name=name, scale=SCALE, min_side_px=MIN_SIDE_PX[name], recipe=found(name, settings)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_the_prepared_graph_is_the_network_at_every_size_and_shares_no_memory(name: str) -> None:
    graph, network = prepared(name), source(name).network
    for height, width in ((MIN_SIDE_PX[name], 33), (40, 48)):
        x = photo(1, height, width)
        assert np.abs(run(graph, x) - run(network, x)).max() < 1e-5
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.zero_()
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


def test_image_channels_get_convolutions_of_their_own() -> None:
    graph, network = prepared("plainusr"), source("plainusr").network.state_dict()
    shapes = {name_of(conv): tuple(tensor_of(graph, conv.args[1]).shape) for conv in convolutions(graph)}
    assert shapes["head_1"] == (3, 3, 3, 3)
    assert shapes["head_0"][0] + 3 == len(network["head.weight"])
    assert shapes["tail_0_0"][1] + shapes["tail_0_1"][1] == network["tail.0.weight"].shape[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_what_reads_the_image_keeps_every_value_of_an_8_bit_photo(name: str) -> None:
    """With a channel of ones beside it, too, where the first convolution of BSRN-S has one."""
    convs = [conv for conv in convolutions(prepared(name)) if is_image(source_of(conv))]
    layers = {layer.name: layer for layer in found(name, Settings(0.0)).facts.layers}
    pixels = Grid(float(np.float32(1 / 255)), 0)
    assert [layers[name_of(conv)].reads for conv in convs] == [pixels] * len(convs)
    assert 1 <= len(convs) < len(layers)


@pytest.mark.parametrize("name", NETWORKS)
def test_equalization_changes_no_value_and_predicts_less_error(name: str) -> None:
    graph = prepared(name)
    exact = run(graph, X)
    result = equalize(graph, crops(name), ())
    assert np.abs(run(graph, X) - exact).max() < 1e-4
    assert result.after < result.before


def test_equalization_takes_back_what_spread_the_channels() -> None:
    """Channels between two convolutions stretched by factors that cancel: the network is the same, its error is not."""
    graph = prepared("plainusr")
    even = equalize(prepared("plainusr"), crops("plainusr"), ()).after
    convs = {name_of(conv): tensor_of(graph, conv.args[1]) for conv in convolutions(graph)}
    biases = {name_of(conv): tensor_of(graph, conv.args[2]) for conv in convolutions(graph) if conv.args[2] is not None}
    spread = torch.logspace(-1, 1, 16)
    with torch.no_grad():
        convs["block1.body.0"].mul_(spread[:, None, None, None])
        biases["block1.body.0"].mul_(spread)
        convs["block1.body.2"].div_(spread[None, :, None, None])
    result = equalize(graph, crops("plainusr"), ())
    assert result.before > 1.5 * even
    assert result.after == pytest.approx(even, rel=0.05)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "plainusr"])
def test_factors_are_where_equalization_needs_them(name: str) -> None:
    assert list(factors(prepared(name)))


def test_a_one_sided_channel_is_turned_and_nothing_changes() -> None:
    graph = prepared("plainusr")
    conv = next(conv for conv in convolutions(graph) if name_of(conv) == "block1.body.0")
    with torch.no_grad():
        tensor_of(graph, conv.args[2])[3] = -50.0
    exact = run(graph, X)
    row = tensor_of(graph, conv.args[1])[3].clone()
    assert flip_one_sided(graph, crops("plainusr")) >= 1
    assert torch.allclose(tensor_of(graph, conv.args[1])[3], -0.05 * row)
    assert np.abs(run(graph, X) - exact).max() < 1e-4


def test_energy_of_an_activation_is_what_an_error_there_costs() -> None:
    """Noise of known variance on one tensor: the output's error is variance times energy, but for chance."""
    graph = prepared("plainusr")
    conv = next(conv for conv in convolutions(graph) if name_of(conv) == "block1.body.0")
    images = crops("plainusr") * 8
    energy = float(measure(graph, [conv], images)[conv].energy.sum())
    random, sigma, errors = torch.Generator().manual_seed(0), 1e-3, []

    class Noisy(torch.fx.Interpreter):
        def run_node(self, n: Any) -> Any:
            result = super().run_node(n)
            return result + sigma * torch.randn(result.shape, generator=random) if n is conv else result

    with torch.no_grad():
        for image in images:
            errors.append(float((Noisy(graph).run(image) - graph(image)).square().mean()))
    assert np.mean(errors) == pytest.approx(sigma**2 * energy, rel=0.25)


def test_what_stays_in_float_fits_the_budget_and_pays() -> None:
    graph = prepared("bsrn-slim")
    shares = work_shares(graph, example_input())
    assert sum(shares.values()) == pytest.approx(1)
    assert choose_float(graph, crops("bsrn-slim"), 0.0) == ()
    little, much = (choose_float(graph, crops("bsrn-slim"), share) for share in (0.05, 0.3))
    assert little
    assert sum(shares[name] for name in little) <= 0.05
    assert sum(shares[name] for name in much) <= 0.3
    assert len(much) >= len(little)


class TwoReaders(torch.nn.Module):
    """One channel of what two convolutions read is far larger than the others, which cost as much."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.tail = torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 3, 1)
        self.one, self.other = (torch.nn.Conv2d(8, 8, 1) for _ in range(2))
        self.much = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3, padding=1), torch.nn.Conv2d(64, 3, 3, padding=1))
        with torch.no_grad():
            self.first.weight[0] *= 1000
            for reader in (self.one, self.other):
                reader.weight[:, 0] /= 1000

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = torch.nn.functional.gelu(self.first(x))
        return self.much(x) + self.tail(self.one(seen) + self.other(seen))


def test_all_that_read_one_activation_stay_in_float_together() -> None:
    """One of them alone would leave its rounding as it is."""
    graph = prepare(TwoReaders().eval(), example_input(), free_sides())
    shares = work_shares(graph, example_input())
    enough = shares["first"] + shares["one"] + shares["other"]
    assert {"one", "other"} <= {*choose_float(graph, crops("plainusr"), enough)}
    assert not {"one", "other"} & {*choose_float(graph, crops("plainusr"), enough - shares["other"] / 2)}


@pytest.mark.parametrize("name", NETWORKS)
def test_fitting_comes_nearer_to_the_network(name: str) -> None:
    plain = Settings(0.0, None)
    fitted = Settings(0.0, Fit(steps=60, batch=4, side_px=32, warmup=5))
    exact = run(source(name).network, X)
    before, after = (psnr_db(run(with_recipe(name, each).quantized, X), exact) for each in (plain, fitted))
    assert after > before + 0.25, f"{before:.2f} -> {after:.2f} dB"


def test_a_recipe_is_reproducible() -> None:
    first, again = found("plainusr"), found.__wrapped__("plainusr")
    assert first.facts == again.facts
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in first.tensors.items())


def test_a_recipe_survives_its_files(tmp_path: Path) -> None:
    made = found("bsrn-slim")
    recipes.save(made, tmp_path / "deep" / "recipe.json")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["recipe.json", "recipe.safetensors"]
    read = recipes.load(tmp_path / "deep" / "recipe.json")
    assert read.facts == made.facts
    assert all(torch.equal(tensor, read.tensors[name]) for name, tensor in made.tensors.items())
    network = source("bsrn-slim").network
    graphs = [apply(each, network, example_input(), free_sides()) for each in (made, read)]
    x = torch.linspace(0, 1, 3 * 40 * 48).reshape(1, 3, 40, 48)
    assert torch.equal(graphs[0](x), graphs[1](x))


def test_applied_graph_rounds_what_the_recipe_says_and_nothing_else() -> None:
    facts = found("bsrn-slim").facts
    model = onnx_graph.load(with_recipe("bsrn-slim").quantized_onnx)
    integer = list(onnx_graph.quantized_convolutions(model.graph))
    stored = [
        tensor
        for tensor in onnx_graph.initializers(model.graph).values()
        if tensor.dtype == np.int8 and tensor.ndim == 4
    ]
    rounded = [layer for layer in facts.layers if layer.integer]
    assert facts.kept_float
    assert len(stored) == len(rounded)
    assert len(integer) >= len(rounded), "a float convolution may read what an integer one wrote"
    assert facts.integer_share >= 0.9


def test_unrounded_form_holds_the_weights_of_the_quantized_one() -> None:
    """Rounded to nearest and not fitted, only activations are rounded besides."""
    quantized = with_recipe("plainusr")
    assert psnr_db(run(quantized.unrounded, X), run(quantized.quantized, X)) > 30


@pytest.mark.parametrize("target", [name for name, row in TARGETS.items() if "int8" in row.precisions])
@pytest.mark.parametrize("name", ["plainusr", "bsrn-slim"])
def test_every_target_computes_what_the_recipe_says(tmp_path: Path, target: str, name: str) -> None:
    check_target(with_recipe(name), name, target, tmp_path, X)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.update(schema=7), "schema 7"),
        (lambda raw: raw.update(layers="none"), "layers"),
        (lambda raw: raw["layers"][2]["reads"].update(step=float("nan")), "step or zero point"),
        (lambda raw: raw["layers"][2]["reads"].update(step=-1.0), "step or zero point"),
        (lambda raw: raw["layers"][2]["reads"].update(zero_point=256), "step or zero point"),
        (lambda raw: raw["tensors"].update(sha256="0" * 64), "was changed"),
        (lambda raw: raw["tensors"].update(file="../other.safetensors"), "does not name"),
        (lambda raw: raw.pop("tensors"), "does not name"),
    ],
)
def test_a_changed_recipe_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    recipes.save(found("plainusr"), tmp_path / "recipe.json")
    raw = json.loads((tmp_path / "recipe.json").read_text())
    change(raw)
    (tmp_path / "recipe.json").write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match=message):
        recipes.load(tmp_path / "recipe.json")


def test_files_that_are_no_recipe_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    with pytest.raises(ArtifactError, match="Cannot read the recipe"):
        recipes.load(path)
    for text in ("", "{", "[]", '"x"', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(ArtifactError):
            recipes.load(path)
    recipes.save(found("plainusr"), path)
    (tmp_path / "recipe.safetensors").unlink()
    with pytest.raises(ArtifactError, match="two files"):
        recipes.load(path)


def test_a_recipe_of_another_network_is_refused() -> None:
    with pytest.raises(ArtifactError, match="does not fit the network"):
        unrounded(found("plainusr"), source("bsrn-slim").network, example_input(), free_sides())


class Stopped(Exception):
    pass


def fitted(unfinished: Unfinished | None, stop_at: int | None = None) -> Any:
    def report(step: str, done: int, total: int) -> None:
        if (step, done) == ("fit", stop_at):
            raise Stopped

    return source("plainusr").find_recipe(QUICK, report, unfinished)


def test_an_interrupted_fit_goes_on_and_ends_where_it_would_have(tmp_path: Path) -> None:
    unfinished, steps = Unfinished(tmp_path / "state", every=5), []
    with pytest.raises(Stopped):
        fitted(unfinished, stop_at=8)
    resumed = source("plainusr").find_recipe(QUICK, lambda step, done, total: steps.append((step, done)), unfinished)
    assert [done for step, done in steps if step == "fit"] == list(range(6, 13))
    whole = fitted(None)
    assert resumed.layers == whole.layers
    assert all(torch.equal(tensor, whole.tensors[name]) for name, tensor in resumed.tensors.items())


@pytest.mark.parametrize("content", [b"", b"no state", b"cut"])
def test_a_damaged_state_is_as_good_as_none(content: bytes, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with pytest.raises(Stopped):
        fitted(Unfinished(state, every=5), stop_at=5)
    state.write_bytes(state.read_bytes()[:-100] if content == b"cut" else content)
    assert fitted(Unfinished(state)).layers == fitted(None).layers


def test_the_state_of_another_network_is_not_taken(tmp_path: Path) -> None:
    state = tmp_path / "state"
    parameters = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2, 2))]
    optimizer = torch.optim.Adam(parameters)
    sum(parameter.sum() for parameter in parameters).backward()
    optimizer.step()
    Unfinished(state, every=1).keep(optimizer, 4)
    assert Unfinished(state).restore(torch.optim.Adam(parameters)) == 4
    assert Unfinished(state).restore(torch.optim.Adam(parameters[:1])) == 0
    assert Unfinished(state).restore(torch.optim.Adam(parameters[::-1])) == 0


@pytest.mark.parametrize(("step", "zero_point"), [(0.01, 128.0), (0.02, 3.4), (0.05, 250.2)])
def test_learned_rounding_is_pytorchs(step: float, zero_point: float) -> None:
    random = torch.Generator().manual_seed(0)
    x, weights = torch.randn(2, 4, 9, 9, generator=random), torch.randn(2, 4, 9, 9, generator=random)
    results = []
    for rounding in (
        Rounded.apply,
        lambda x, s, z: torch._fake_quantize_learnable_per_tensor_affine(x, s.reshape(1), z.reshape(1), 0, 255, 1.0),
    ):
        inputs = [x.clone(), torch.tensor(step), torch.tensor(zero_point)]
        leaves = [tensor.requires_grad_() for tensor in inputs]
        output = rounding(*leaves)
        (output * weights).sum().backward()
        results.append((output.detach(), *(leaf.grad for leaf in leaves)))
    for name, own, exact in zip(("output", "x", "step", "zero point"), *results, strict=True):
        assert torch.allclose(own, exact, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("change", [stretched, faded])
def test_changed_crops_are_pixels_with_another_contrast(change: Any) -> None:
    crop = (photo(3, 40, 40)[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)
    results = [change(crop, np.random.default_rng(seed)) for seed in range(20)]
    assert all(result.dtype == np.uint8 and result.shape == crop.shape for result in results)
    contrasts, levels = [result.std() for result in results], [result.mean() for result in results]
    if change is faded:
        assert max(contrasts) <= crop.std() + 1
        assert min(contrasts) < crop.std() / 2
        assert max(levels) - min(levels) > 60
    else:
        assert max(contrasts) > 1.3 * crop.std()


def test_a_recipe_is_kept_under_everything_that_it_depends_on(tmp_path: Path) -> None:
    spec, other = find_model("plainusr-t", 4), find_model("plainusr-t", 2)
    entry = {"fingerprint": "f"}
    places = [
        kept.place(spec, "a", entry, QUICK),
        kept.place(other, "a", entry, QUICK),
        kept.place(spec, "b", entry, QUICK),
        kept.place(spec, "a", {"fingerprint": "g"}, QUICK),
        kept.place(spec, "a", entry, dataclasses.replace(QUICK, float_work=0.2)),
        kept.place(spec, "a", entry, Settings(0.1, Fit(steps=13, batch=2, side_px=32, warmup=2))),
    ]
    assert len(set(places)) == len(places)
    assert kept.find(places[0]) is None
    kept.keep(found("plainusr"), places[0])
    again = kept.find(places[0])
    assert again is not None
    assert again.facts == found("plainusr").facts
    places[0].write_text("{")
    assert kept.find(places[0]) is None


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept.keep(found("plainusr"), tmp_path / "file" / "recipe.json")
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    Unfinished(tmp_path / "file" / "state", every=1).keep(optimizer, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
