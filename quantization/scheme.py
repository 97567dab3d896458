"""What is quantized, and how: a value that is saved beside the artifact and can be read back."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from edgesr.errors import ArtifactError

Ranges = Literal["mse", "minmax"]
Placement = Literal["inputs", "inputs+outputs"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """Convolutions compute on int8 symmetric weights, one scale per output channel, and uint8 affine activations.

    ranges: "mse" clips an activation where that lowers the mean squared rounding error over the calibration crops;
    "minmax" never clips.

    placement: "inputs" rounds what a convolution reads, after the activation function before it. "inputs+outputs" also
    rounds what it writes, before the activation: about 0.14 to 0.21 dB worse on Set5 (official x4 weights), but the
    only one with integer kernels in ONNX Runtime, XNNPACK and LiteRT. Ranges are the same on every target; those whose
    kernels write floats leave the roundings of outputs out (edgesr.quantization.float_outputs).

    patch_weight: how much a synthetic extreme counts in the search, against a crop of a photo (1); 0 leaves them out.
    More of it clips saturated areas less and rounds ordinary photos more.
    """

    ranges: Ranges = "mse"
    placement: Placement = "inputs+outputs"
    patch_weight: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Scheme":
        """Raises ArtifactError for anything that `to_json` cannot have written."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ArtifactError(f"A quantization scheme is not valid JSON: {error}") from error
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or values.keys() != known:
            raise ArtifactError(f"A quantization scheme must hold exactly {sorted(known)}; found {text[:80]!r}.")
        _check_choice(values, "ranges", ("mse", "minmax"))
        _check_choice(values, "placement", ("inputs", "inputs+outputs"))
        if not isinstance(values["patch_weight"], int | float) or not 0 <= values["patch_weight"] <= 1:
            raise ArtifactError(
                f"Quantization scheme: patch_weight must be in 0..1; found {values['patch_weight']!r:.80}."
            )
        return cls(**values)


def _check_choice(values: dict[str, Any], key: str, choices: tuple[str, ...]) -> None:
    if values[key] not in choices:
        raise ArtifactError(
            f"Quantization scheme: {key} must be one of {', '.join(choices)}; found {values[key]!r:.80}."
        )
