"""What every target starts from: one network, exported once per form and kept."""

import copy
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgesr.errors import ConversionError, Unsupported
from edgesr.models.registry import check_size
from edgesr.quantization.calibration import Calibration
from edgesr.quantization.scheme import Scheme
from edgesr.quantization.toolchain import stage
from edgesr.targets import find
from edgesr.types import Request, Size

if TYPE_CHECKING:
    from edgesr.quantization.graph import Report
    from edgesr.quantization.layers_report import Explanation
    from edgesr.quantization.recipe import Found, Recipe
    from edgesr.quantization.settings import Settings
    from edgesr.quantization.unfinished import Unfinished

Progress = Callable[[int, int], None]
"""Called with calibration crops done and crops in all."""

CALIBRATED_AT: Size = (96, 96)
"""Of networks that work in windows; a recipe holds at every size. A multiple of every window."""

KEPT = (
    *("network", "name", "scale", "min_side_px", "multiple_px", "size"),
    *("calibration", "scheme", "recipe", "exact_rest", "store"),
)
"""What of a source goes to another process."""


class Source:
    """One folded network at one scale, with what it needs for INT8.

    Not a frozen value: it keeps the exports, in memory and in the folder `store`, so that every target and every
    process that gets a copy of it starts from the same ones. The network must not be changed afterwards.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        scale: int,
        min_side_px: int,
        calibration: Calibration | None = None,
        scheme: Scheme | None = None,
        recipe: "Recipe | None" = None,
        exact_rest: bool = False,
        progress: Progress | None = None,
        store: Path | None = None,
        multiple_px: int = 1,
        size: Size | None = None,
    ) -> None:
        """`network`: float32 (1, 3, H, W), RGB in [0, 1] -> (1, 3, scale * H, scale * W); sides >= `min_side_px`.

        `multiple_px`: what sides are multiples of; where it is not 1, exports are for one `size`, see `at`.
        `recipe`: its numbers are taken for INT8 instead of a search for ranges alone. `exact_rest`: what is not integer
        is computed in float32, also where a target would take less (TargetInfo.coarse_rest).

        Raises ConversionError if a weight is not finite.
        """
        _check_finite(network)
        self.network = network.eval()
        self.name, self.scale, self.min_side_px = name, scale, min_side_px
        self.calibration, self.scheme, self.progress = calibration, scheme or Scheme(), progress
        self.recipe, self.exact_rest = recipe, exact_rest
        self.store, self.multiple_px, self.size = store, multiple_px, size

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the exports, which another process finds in `store` or makes again."""
        return {name: getattr(self, name) for name in KEPT} | {"progress": None}

    def at(self, size: Size) -> "Source":
        """This network for inputs of exactly `size`: what depends on the size alone becomes a constant."""
        sized = copy.copy(self)
        for name, value in vars(type(self)).items():
            if isinstance(value, functools.cached_property):
                sized.__dict__.pop(name, None)
        make = getattr(self.network, "at", None)
        sized.network = make(*size).eval() if make is not None else self.network
        sized.size = size
        sized.calibration = None if self.calibration is None else self.calibration.at(*size)
        if self.store is not None:
            sized.store = self.store / f"{size[0]}x{size[1]}"
            sized.store.mkdir(exist_ok=True)
        return sized

    def fitting(self, request: Request) -> "Source":
        """This source, or for a network that works in windows, the one of the size that is asked for."""
        return self if self.multiple_px == 1 else self.at(request.sizes[0])

    def check(self, request: Request) -> None:
        """Raise Unsupported if the request does not fit this network."""
        if (request.model, request.scale) != (self.name, self.scale):
            raise Unsupported(f"This network is {self.name} x{self.scale}; asked for {request.model} x{request.scale}.")
        for size in request.sizes:
            check_size(self.name, size, self.min_side_px, self.multiple_px)
        if self.multiple_px > 1 and len(request.sizes) != 1:
            raise Unsupported(f"{self.name} works in windows, so that an artifact has one size: give --size once.")
        if request.precision not in ("int8", "int16x8"):
            return
        self.check_integers()
        if self.calibration is None and self.recipe is None:
            raise Unsupported(f"INT8 needs calibration images; give {self.name} at least four low-resolution photos.")

    def check_integers(self) -> None:
        """Raise Unsupported if the network cannot be quantized."""
        if any(isinstance(module, nn.Linear) for module in self.network.modules()):
            raise Unsupported(
                f"{self.name} cannot be quantized: most of its work is linear layers and products of tokens, and this "
                "kit's INT8 is of convolutions. Use --precision fp32 or fp16."
            )

    def find_recipe(self, settings: "Settings", report: "Report", unfinished: "Unfinished | None" = None) -> "Found":
        """Quantize the network as well as `settings` allow; minutes. Needs calibration crops.

        `unfinished`: where the state of a fit is kept, and taken up after an interruption.
        """
        from edgesr.quantization.graph import find_recipe

        measured = self._measurable
        assert measured.calibration is not None, "checked by the caller"
        return find_recipe(measured.network, measured.calibration, settings, *measured._example, report, unfinished)

    def explain(self, report: "Report") -> "Explanation":
        """What the recipe does to every convolution, on calibration crops. Raises Unsupported without those."""
        from edgesr.quantization.layers_report import explain

        assert self.recipe is not None, "an argument of the caller"
        if self.calibration is None:
            raise Unsupported(f"Explaining a recipe needs calibration images; give {self.name} low-resolution photos.")
        measured = self._measurable
        assert measured.calibration is not None
        return explain(self.recipe, measured.network, measured.calibration, *measured._example, report)

    @property
    def _measurable(self) -> "Source":
        """This source, or that of the size at which a network that works in windows meets calibration crops."""
        return self if self.multiple_px == 1 else self.at(CALIBRATED_AT)

    @property
    def _example(self) -> tuple[torch.Tensor, Any]:
        """An input for tracing, and which of its sides are free (torch.export)."""
        from edgesr.targets.export import example_input, free_sides

        return (example_input(), free_sides()) if self.size is None else (example_input(self.size), None)

    @functools.cached_property
    def float_onnx(self) -> bytes:
        """float32 ONNX, free height and width unless there is a `size`."""
        from edgesr.targets.export import to_onnx

        return self._stored("float.onnx", lambda: to_onnx(self.network, self.size))

    def onnx(self, request: Request) -> bytes:
        """QDQ ONNX for INT8, with the roundings that the target's kernels need, else float32."""
        if request.precision != "int8":
            return self.float_onnx
        return self.float_outputs_onnx if find(request.target).float_outputs else self.quantized_onnx

    @functools.cached_property
    def quantized(self) -> nn.Module:
        """The one converted PT2E graph: uint8 roundings around every convolution, int8 weights.

        Always read back from its saved form, so that it is the same graph whoever made it.
        """
        with stage("quantize"):
            from edgesr.targets import export
        make = functools.partial(export.save_module, size=self.size)
        return export.load_module(self._stored("quantized.pt2", lambda: make(self._quantize())))

    def _quantize(self) -> nn.Module:
        with stage("quantize"):
            from edgesr.quantization.graph import quantize
            from edgesr.quantization.recipe_graph import apply

        if self.recipe is not None:
            return apply(self.recipe, self.network, *self._example)
        assert self.calibration is not None, "checked by Source.check"
        return quantize(self.network, self.calibration, self.scheme, *self._example, self.progress)

    @functools.cached_property
    def unrounded(self) -> nn.Module:
        """The float network with the structure and weights of `float_outputs`: the same convolutions in one order."""
        with stage("prepare"):
            from edgesr.quantization.float_outputs import with_float_outputs
            from edgesr.quantization.prepared import for_integers
            from edgesr.quantization.recipe_float import unrounded

        if self.recipe is None:
            return for_integers(self.network)
        return with_float_outputs(unrounded(self.recipe, self.network, *self._example))

    @functools.cached_property
    def float_outputs(self) -> nn.Module:
        """`quantized` with the roundings that remain where integer convolutions write floats."""
        with stage("quantize"):
            from edgesr.quantization.float_outputs import with_float_outputs
        return with_float_outputs(self.quantized)

    def quantized_for(self, target: str) -> nn.Module:
        """The quantized graph with the roundings that are in an INT8 artifact of `target`."""
        return self.float_outputs if find(target).float_outputs else self.quantized

    @functools.cached_property
    def quantized_onnx(self) -> bytes:
        """QDQ ONNX of `quantized`, free height and width unless there is a `size`, weights stored as int8."""
        return self._to_onnx("quantized.onnx", lambda: self.quantized)

    @functools.cached_property
    def float_outputs_onnx(self) -> bytes:
        """The same of `float_outputs`."""
        return self._to_onnx("float_outputs.onnx", lambda: self.float_outputs)

    def _to_onnx(self, name: str, graph: Callable[[], nn.Module]) -> bytes:
        from edgesr.targets import onnx_graph
        from edgesr.targets.export import to_onnx

        content = self._stored(name, lambda: onnx_graph.with_own_zero_points(to_onnx(graph(), self.size)))
        onnx_graph.check_weights_are_int8(onnx_graph.load(content))
        return content

    def signed_for(self, target: str) -> nn.Module:
        """`quantized_for` with int8 activations instead of uint8: the same values, every zero point 128 lower."""
        from edgesr.quantization.signed import to_signed

        with stage("quantize"):
            return to_signed(self.quantized_for(target))

    def _stored(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The content of `store/name`, made now if nobody made it before."""
        if self.store is None:
            return make()
        path = self.store / name
        if not path.exists():
            unfinished = path.with_name(f"{name}.{os.getpid()}")
            unfinished.write_bytes(make())
            unfinished.replace(path)
        return path.read_bytes()


def _check_finite(network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ConversionError("check", f"the weight {name} holds NaN or infinity; train or download it again")
