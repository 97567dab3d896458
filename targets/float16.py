"""Rewrites a float32 ONNX graph to float16 tensors and weights, with float32 input and output.

ONNX Runtime's own tool rounds every value between nodes that it was told to keep in float32 (1.31), which is where
soft pooling overflows; here a kept region passes float32 on.
"""

from collections import deque
from collections.abc import Collection

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgesr.errors import ConversionError
from edgesr.targets import onnx_graph

FLOAT32_INPUTS = {"Resize": (1, 2)}
"""Inputs that ONNX defines as float32 whatever the data is."""

REGION_ENDS = ("Div", "Sqrt")


def to_float16(content: bytes) -> bytes:
    """The same network on float16; nodes whose values would overflow stay float32."""
    model = onnx_graph.load(content)
    _Rewriter(model, {node.name for node in overflowing(model.graph)}).run()
    return onnx_graph.save(onnx_graph.clean(model))


def overflowing(graph: GraphProto) -> list[NodeProto]:
    """Nodes whose values leave float16's range (65504) for ordinary activations.

    From an Exp to the Div that ends it (soft pooling: exp(12) overflows), and from a square to its Sqrt (contrast
    attention: an activation of 256 overflows).
    """
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: dict[str, NodeProto] = {}
    pending = deque(node for node in graph.node if node.op_type == "Exp" or _is_square(node))
    while pending:
        node = pending.popleft()
        if node.name not in found and node.op_type not in REGION_ENDS:
            pending.extend(reader for name in node.output for reader in readers.get(name, []))
        found[node.name] = node
    return list(found.values())


def _is_square(node: NodeProto) -> bool:
    return node.op_type == "Pow" or (node.op_type == "Mul" and node.input[0] == node.input[1])


class _Rewriter:
    """One pass over the graph in its order; `self.float32` holds the float tensors that are not float16."""

    def __init__(self, model: ModelProto, keep: Collection[str]) -> None:
        typed = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        self.graph, self.keep = model.graph, keep
        values = (*typed.value_info, *typed.output)
        self.floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
        self.weights = {t.name: t for t in self.graph.initializer if t.data_type == TensorProto.FLOAT}
        self.float32 = {value.name for value in self.graph.input}
        self.nodes: list[NodeProto] = []
        self.converted: dict[tuple[str, int], str] = {}
        self.stored: dict[str, TensorProto] = {}

    def run(self) -> None:
        outputs = {value.name for value in self.graph.output}
        for source in self.graph.node:
            self._node(source, outputs)
        constants = [t for t in self.graph.initializer if t.name not in self.weights]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend([*constants, *self.stored.values()])

    def _node(self, source: NodeProto, outputs: Collection[str]) -> None:
        node = NodeProto.FromString(source.SerializeToString())
        kept = node.name in self.keep
        for index, name in enumerate(source.input):
            float32 = kept or index in FLOAT32_INPUTS.get(node.op_type, ())
            node.input[index] = self._read(name, TensorProto.FLOAT if float32 else TensorProto.FLOAT16)
        self.nodes.append(node)
        for index, name in enumerate(source.output):
            if kept:
                self.float32.add(name)
            elif name in outputs:
                node.output[index] = f"{name}_float16"
                self._cast(node.output[index], name, TensorProto.FLOAT)

    def _read(self, name: str, wanted: int) -> str:
        """The name under which `name` can be read as `wanted`; makes the copy or the cast if there is none yet."""
        if name in self.weights:
            return self._weight(name, wanted)
        has = TensorProto.FLOAT if name in self.float32 else TensorProto.FLOAT16
        if (name not in self.floats and name not in self.float32) or has == wanted:
            return name
        if (name, wanted) not in self.converted:
            self.converted[name, wanted] = f"{name}_float{'32' if wanted == TensorProto.FLOAT else '16'}"
            self._cast(name, self.converted[name, wanted], wanted)
        return self.converted[name, wanted]

    def _weight(self, name: str, wanted: int) -> str:
        if wanted == TensorProto.FLOAT:
            self.stored[name] = self.weights[name]
            return name
        half = f"{name}_float16"
        if half not in self.stored:
            self.stored[half] = numpy_helper.from_array(_half(name, numpy_helper.to_array(self.weights[name])), half)
        return half

    def _cast(self, source: str, result: str, to: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [result], name=f"cast_{result}", to=to))


def _half(
    name: str, values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float16]]":
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise ConversionError("float16", f"the weight {name} reaches {np.abs(values).max():.4g}, beyond float16")
    return half
