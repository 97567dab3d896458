"""Loading weights: never anything but tensors, never a file that is not what it should be."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgesr.errors import ConversionError, WeightsError
from edgesr.extras import require
from edgesr.models.checkpoint import read_checkpoint
from edgesr.models.eager import for_torch
from edgesr.models.files import Kind, check_given, locate, sha256_of
from edgesr.models.network import Network
from edgesr.models.registry import SPECS, ModelSpec, find

MAX_FILE_BYTES = 2**30
"""A thousand times the largest network here; a bigger file is a mistake or an attack."""
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
COUNTS = (torch.int64, torch.int32)
"""Of what is stored with weights and is none: how many batches a BatchNorm saw, rows of a table. Kept as they are."""
FOLD_TOLERANCE = 1e-4
"""Largest difference between training and folded form, relative to the output's range, before a load is refused."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where weights came from: said in every output that was made with them."""

    kind: Kind
    file: str
    sha256: str


@dataclass(frozen=True)
class Loaded:
    """`network` is the form of the checkpoint, `folded` the equal inference form; both in eval mode, float32."""

    spec: ModelSpec
    network: Network
    folded: nn.Module
    provenance: Provenance

    @functools.cached_property
    def in_torch(self) -> nn.Module:
        """`folded` as torch itself runs it fastest on a CPU, equal up to the order of sums."""
        return for_torch(self.folded)


def load(name: str, scale: int | None = None, file: Path | None = None, say: Callable[[str], None] = print) -> Loaded:
    """The network `name` at `scale` with weights, folded and proven equal to its unfolded form.

    Raises UnknownName, Unsupported, WeightsError.
    """
    spec = find(name, scale)
    path, kind = locate(spec, file, say)
    state = read_state(path)
    network = _matching_form(spec, state, path)
    network.eval()
    folded = network.fold()
    _check_fold(network, folded, path)
    return Loaded(spec, network, folded, Provenance(kind, path.name, sha256_of(path)))


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a .safetensors file or a PyTorch checkpoint (no code in it is run), floats as float32.

    Raises WeightsError for a damaged, hostile, empty or non-finite file.
    """
    size = path.stat().st_size
    if not 0 < size <= MAX_FILE_BYTES:
        raise WeightsError(f"{path} has {size} bytes; a weights file has between 1 and {MAX_FILE_BYTES}. Get it again.")
    state = _only_tensors(_read_safetensors(path) if path.suffix == ".safetensors" else _read_state_dict(path), path)
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > size:
        raise WeightsError(
            f"{path} is damaged or hostile: its tensors claim more bytes than the file has. Get it again."
        )
    state = {name: tensor if tensor.dtype in COUNTS else tensor.float() for name, tensor in state.items()}
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsError(
            f"{path} holds NaN or infinity in {_short(broken[0])} ({len(broken)} tensors in all): it is damaged. "
            "Get it again."
        )
    return state


def identify(state: dict[str, Tensor]) -> list[tuple[ModelSpec, str]]:
    """The networks, and their form ("train", "deploy"), whose names and shapes are exactly those of `state`."""
    return [(spec, form) for spec in SPECS for form in forms_of(spec, state)]


def forms_of(spec: ModelSpec, state: dict[str, Tensor]) -> list[str]:
    """The forms of `spec` whose names and shapes are exactly those of `state`; none for another network's."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return [form for form, wanted in _shapes(spec.name, spec.scale).items() if wanted == shapes]


def identified(path: Path) -> list[tuple[ModelSpec, str]]:
    """The networks whose weights, by names and shapes, `path` holds, and their form. Raises WeightsError if none."""
    check_given(path)
    found = identify(read_state(path))
    if not found:
        raise WeightsError(f"{path} holds no weights of a network of this kit: no names and shapes agree.")
    return found


def _read_safetensors(path: Path) -> object:
    safetensors = require("safetensors", "torch")
    load_file = require("safetensors.torch", "torch").load_file
    try:
        return load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}). Get it again.") from error


def _read_state_dict(path: Path) -> object:
    content = read_checkpoint(path)
    for key in ("params_ema", "params", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return content


def _only_tensors(content: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not content:
        kind = "an empty dict" if content == {} else type(content).__name__
        raise WeightsError(f"{path} holds {kind}, not a state dict of named tensors. Pass a bare state dict.")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(
                f"{path}: entry {_short(name)} is {type(tensor).__name__}, not a tensor. Pass a bare state dict."
            )
        if tensor.dtype not in (*DTYPES, *COUNTS):
            known = ", ".join(str(dtype) for dtype in DTYPES)
            raise WeightsError(f"{path}: {_short(name)} is {tensor.dtype}; weights are one of {known}.")
    return content


def _matching_form(spec: ModelSpec, state: dict[str, Tensor], path: Path) -> Network:
    for network in spec.forms().values():
        wanted = network.state_dict()
        if wanted.keys() == state.keys() and all(wanted[name].shape == state[name].shape for name in wanted):
            network.load_state_dict(state, strict=True)
            return network
    looks_like = [f"{other.name} x{other.scale}" for other, _ in identify(state)]
    advice = f"It looks like {' or '.join(looks_like)}." if looks_like else _closest_difference(spec, state)
    raise WeightsError(f"{path} does not hold weights of {spec.name} x{spec.scale}. {advice}")


def _closest_difference(spec: ModelSpec, state: dict[str, Tensor]) -> str:
    """Names the first few tensors that differ from the nearest form of `spec`."""
    reports = []
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for form, wanted in _shapes(spec.name, spec.scale).items():
        wrong = [
            f"{name}: {found.get(name, 'missing')}, expected {wanted[name]}"
            for name in wanted
            if found.get(name) != wanted[name]
        ]
        wrong += [f"{_short(name)}: not expected" for name in found if name not in wanted]
        reports.append(
            (len(wrong), f"It looks like no model of this kit; against the {form} form: {'; '.join(wrong[:3])}")
        )
    count, report = min(reports)
    return f"{report} ({count} differences)."


def _short(name: object) -> str:
    """A name from a file that nobody vouches for, fit for a terminal."""
    return repr(name)[:80]


@functools.cache
def _shapes(name: str, scale: int) -> dict[str, dict[str, tuple[int, ...]]]:
    """Names and shapes of a network's weights in each of its forms; takes no memory for them."""
    with torch.device("meta"):
        forms = find(name, scale).forms()
    return {
        form: {key: tuple(tensor.shape) for key, tensor in made.state_dict().items()} for form, made in forms.items()
    }


@torch.no_grad()
def _check_fold(network: nn.Module, folded: nn.Module, path: Path) -> None:
    # smooth, as photos are: white noise amplifies rounding errors a thousandfold in BSRN
    coarse = torch.rand(1, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    image = nn.functional.interpolate(coarse, (31, 36), mode="bilinear")
    expected, found = network(image), folded(image)
    if not torch.isfinite(expected).all():
        raise WeightsError(f"{path} makes a network whose output is NaN or infinity: the weights are damaged.")
    span = max(1.0, float(expected.max() - expected.min()))
    error = float((expected - found).abs().max()) / span
    if not error <= FOLD_TOLERANCE:
        raise ConversionError(
            "fold", f"the folded form of {path.name} differs by {error:.2e} of its range (allowed {FOLD_TOLERANCE})."
        )
