"""The two files of an ncnn network, read without trusting them: ncnn itself checks neither lengths nor shapes.

`model.param` is text: a magic number, the counts of layers and blobs, then a line per layer:
`kind name inputs outputs input... output... key=value...` (ncnn's wiki, "param and model file structure").
`model.bin` holds the weights of the convolutions in the order of their lines: a tag of four bytes, the kernel
(padded to four bytes), float32 bias, and for int8 the float32 scales (ncnn, src/modelbin.cpp); of a constant the bare
float32 values.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesr.errors import ArtifactError

MAGIC = "7767517"
LAYER_LIMIT = 4096
VALUE_LIMIT = 1 << 24
"""No count or size in these networks comes near it; products of two fit into 64 bits."""

CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
CONSTANT = "MemoryData"
"""A tensor of the file: float32, width, height and channels under the options 0, 1 and 2."""
WEIGHTED = (*CONVOLUTIONS, CONSTANT)
TAGS: Mapping[bytes, str] = {
    bytes(4): "<f4",
    (0x01306B47).to_bytes(4, "little"): "<f2",
    (0x000D4B38).to_bytes(4, "little"): "i1",
}
NAME_LIMIT = 200
"""ncnn reads names into 256 characters, numbers into 16, and digits before or after a point into 32 bits."""

NUMBER = r"(?=.{1,15}(,|$))-?\d{1,9}(\.\d{1,9})?(e[+-]?\d{1,2})?"
VALUE = re.compile(rf'{NUMBER}(,{NUMBER})*|"1w,1h"', re.ASCII)
"""Numbers, or the one text that these networks have: the height and width of the second input."""

LIST_KEY = 23300
"""A list under key k is written as -(23300 + k)=length,item,item..."""

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Layer:
    """One line of the param file; `params`: key -> text of the value, as ncnn numbers them."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[int, str] = field(default_factory=dict)

    def integer(self, key: int, default: int = 0) -> int:
        """The value of `key`. Raises ArtifactError if it is not a number of at most VALUE_LIMIT."""
        return _integer(self.params[key], self.name) if key in self.params else default

    def integers(self, key: int) -> tuple[int, ...]:
        """The list under `key`, without its leading length; empty if there is none."""
        if -(LIST_KEY + key) not in self.params:
            return ()
        length, *items = (_integer(item, self.name) for item in self.params[-(LIST_KEY + key)].split(","))
        if length != len(items):
            raise ArtifactError(f"ncnn layer {self.name}: a list of {length} numbers holds {len(items)}.")
        return tuple(items)

    def line(self) -> str:
        counts = (str(len(self.inputs)), str(len(self.outputs)))
        params = (f"{key}={value}" for key, value in self.params.items())
        return " ".join((self.kind, self.name, *counts, *self.inputs, *self.outputs, *params))


@dataclass(frozen=True, slots=True)
class Weights:
    """One convolution, or a constant, which is all kernel.

    kernel: flat float32, float16 or int8. bias: float32 (out,) or None.

    scales: for int8 the float32 factors that turn values into integers, (out,) for the kernel and (1,) for the input.
    """

    kernel: Numbers
    bias: Numbers | None
    scales: tuple[Numbers, Numbers] | None = None


def read_param(content: bytes) -> tuple[Layer, ...]:
    """The layers. Raises ArtifactError unless every count is true and every blob is written once before it is read."""
    if not all(byte == ord("\n") or 32 <= byte < 127 for byte in content):
        raise ArtifactError(f"The ncnn param file is not plain ASCII text: it begins with {content[:20]!r}.")
    lines = content.decode("ascii").splitlines()
    if len(lines) < 3 or lines[0].strip() != MAGIC:
        raise ArtifactError(f"The ncnn param file must begin with {MAGIC}; found {content[:20]!r}.")
    counts = [_integer(text, "counts") for text in lines[1].split()]
    layers = tuple(_layer(line) for line in lines[2 : LAYER_LIMIT + 2])
    blobs = sum(len(layer.outputs) for layer in layers)
    if counts != [len(lines) - 2, blobs] or len(lines) - 2 > LAYER_LIMIT:
        raise ArtifactError(
            f"The ncnn param file announces {counts} layers and blobs; it holds {len(lines) - 2}, {blobs}."
        )
    _check_order(layers)
    return layers


def write_param(layers: tuple[Layer, ...]) -> bytes:
    blobs = sum(len(layer.outputs) for layer in layers)
    return "\n".join((MAGIC, f"{len(layers)} {blobs}", *(layer.line() for layer in layers), "")).encode("ascii")


def _layer(line: str) -> Layer:
    kind, name, *rest = [*line.split(), "", ""]
    rest = rest[:-2]
    if len(rest) < 2:
        raise ArtifactError(f"The ncnn param file has a broken line: {line[:80]!r}.")
    inputs, outputs = (_integer(text, name) for text in rest[:2])
    names, pairs = rest[2 : 2 + inputs + outputs], rest[2 + inputs + outputs :]
    if min(inputs, outputs) < 0 or len(names) != inputs + outputs or any("=" in text for text in names):
        raise ArtifactError(f"The ncnn param file has a broken line: {line[:80]!r}.")
    if max(map(len, (kind, name, *names))) > NAME_LIMIT:
        raise ArtifactError(f"The ncnn param file has a name of more than {NAME_LIMIT} characters: {line[:80]!r}.")
    params = dict(_pair(pair, name) for pair in pairs)
    if len(params) != len(pairs):
        raise ArtifactError(f"ncnn layer {name:.40} has an option twice.")
    return Layer(kind, name, tuple(names[:inputs]), tuple(names[inputs:]), params)


def _pair(pair: str, name: str) -> tuple[int, str]:
    key, sign, value = pair.partition("=")
    if not sign or not VALUE.fullmatch(value):
        raise ArtifactError(
            f"ncnn layer {name:.40}: {pair[:40]!r} is not key=value, or its value is none of these networks."
        )
    return _integer(key, name), value


def _integer(text: str, name: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 9) or int(digits) > VALUE_LIMIT:
        raise ArtifactError(f"ncnn layer {name:.40}: {text[:40]!r} is not a number of at most {VALUE_LIMIT}.")
    return int(text)


def _check_order(layers: tuple[Layer, ...]) -> None:
    written: set[str] = set()
    for layer in layers:
        if not written.issuperset(layer.inputs) or not written.isdisjoint(layer.outputs):
            raise ArtifactError(f"ncnn layer {layer.name:.40} reads or writes a blob out of order.")
        written.update(layer.outputs)


def read_bin(content: bytes, layers: tuple[Layer, ...]) -> dict[str, Weights]:
    """Weights by layer name. Raises ArtifactError unless the file holds exactly what `layers` need."""
    reader = _Reader(content)
    weights = {layer.name: _read_weights(reader, layer) for layer in layers if layer.kind in WEIGHTED}
    if reader.position != len(content):
        raise ArtifactError(f"The ncnn bin file has {len(content)} bytes; its layers need {reader.position}.")
    return weights


def write_bin(layers: tuple[Layer, ...], weights: Mapping[str, Weights]) -> bytes:
    """The file that `read_bin` reads."""
    return b"".join(part for layer in layers if layer.kind in WEIGHTED for part in _parts(layer, weights[layer.name]))


def _parts(layer: Layer, weights: Weights) -> Iterator[bytes]:
    if layer.kind == CONSTANT:
        yield weights.kernel.astype("<f4").tobytes()
        return
    tag = next(tag for tag, kind in TAGS.items() if np.dtype(kind) == weights.kernel.dtype)
    kernel = weights.kernel.tobytes()
    yield tag + kernel + bytes(-len(kernel) % 4)
    for numbers in (weights.bias, *(weights.scales or ())):
        if numbers is not None:
            yield numbers.astype("<f4").tobytes()


class _Reader:
    """A position in the file that does not pass its end."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def take(self, size: int) -> bytes:
        if size < 0 or self.position + size > len(self.content):
            raise ArtifactError(f"The ncnn bin file has {len(self.content)} bytes; its layers need more.")
        part = self.content[self.position : self.position + size]
        self.position += size
        return part

    def floats(self, count: int) -> Numbers:
        return np.frombuffer(self.take(4 * count), "<f4")


def _read_weights(reader: _Reader, layer: Layer) -> Weights:
    if layer.kind == CONSTANT:
        return Weights(reader.floats(layer.integer(0) * layer.integer(1) * layer.integer(2)), None)
    outputs, count, scaled = layer.integer(0), layer.integer(6), layer.integer(8)
    tag = reader.take(4)
    if tag not in TAGS or scaled not in (0, 1) or (TAGS[tag] == "i1") != bool(scaled):
        raise ArtifactError(f"ncnn layer {layer.name:.40}: its weights have the unknown tag {tag!r}.")
    kind = np.dtype(TAGS[tag])
    size = count * kind.itemsize
    kernel = np.frombuffer(reader.take(size + -size % 4)[:size], kind)
    bias = reader.floats(outputs) if layer.integer(5) else None
    return Weights(kernel, bias, (reader.floats(outputs), reader.floats(1)) if scaled else None)
