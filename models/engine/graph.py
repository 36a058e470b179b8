"""A decoder graph made ready to serve.

What onnxruntime-genai's builder writes becomes a graph over rows of tokens: every operation but attention sees
`[rows, width]`, only the wanted rows reach the vocabulary, products that share an input are one product or, when asked
for, the blockwise integer products become plain int8 ones, which this library multiplies two to four times as
fast from a few rows on (bench/README.md), on inputs of which bytes lose less (models/engine/numbers.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from models.engine import smoothing
from models.engine.adapters import Adapter, LowRank, low_rank
from models.engine.blockwise import BLOCKWISE, attribute, form, matrix, plain
from models.engine.int8 import Int8Products
from models.engine.numbers import Numbers
from models.engine.writer import MICROSOFT, Writer

ATTENTION = "GroupQueryAttention"
WANTED = "wanted.rows"
BASE = ".base"  # after the name of a product that adapters add to
MASK_PART = "attn_mask_reformat"  # the builder's name for what turns a mask into lengths
ROWWISE = {
    "Add", "Cast", "Constant", "Gather", "GatherBlockQuantized", "MatMul", BLOCKWISE, "Mul", "QuickGelu", "Reshape",
    "Sigmoid", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "Slice", "Split", "Transpose",
    ATTENTION,
}  # fmt: skip
KEY_SCALE = 12  # input of attention from which on the scales of a cache in bytes come
LENGTHS = {5: "seqlens", 6: "total", 16: "widths"}  # inputs of attention that the session gives directly


class Prepared(NamedTuple):
    """What is to be known of a graph that was written."""

    norm: np.ndarray | None  # weights [hidden] of the last norm where `summed` is turned and lacks them (rotation.py)
    scaled: bool  # all queries come scaled to attention, see _Served._scale_queries


def prepare(path: Path, target: Path, int8: bool, adapters: Sequence[Adapter] = ()) -> Prepared:
    """Write the graph of `path` as the session runs it into `target` (`model.onnx` and its weights).

    Inputs: `input_ids` [rows]; for attention, which sees [batch, width]: `spread` [batch * width] the row of each
    place, `back` [rows] the place of each row, `shape` [3] = batch, width, -1, `seqlens` [batch] last position of each
    sequence, `widths` [batch] tokens of it that count, `total` the longest length; `wanted` [n] rows whose logits are
    computed; with adapters, `adapters` [rows] the number of each row's, 0 for none; and the past tensors. Outputs:
    `logits` [n, vocabulary], `summed` [hidden] last hidden states summed over
    all rows, and the present tensors. Raises ValueError for a graph with operations not known to work on rows.
    """
    model = onnx.load(str(path))
    strange = {node.op_type for node in model.graph.node if MASK_PART not in node.name} - ROWWISE
    if strange:
        raise ValueError(f"{path}: operation {min(strange)} is unknown to the engine; build the model with quantize")
    served = _Served(model.graph, int8, adapters, smoothing.strengths(path.parent) if int8 else {})
    result = helper.make_model(served.graph(), opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.save_model(result, str(target / "model.onnx"), save_as_external_data=True, location="weights")
    return Prepared(served.norm, served.scaled)


class _Served:
    """The new graph, node by node."""

    def __init__(self, old: onnx.GraphProto, int8: bool, adapters: Sequence[Adapter], strengths: dict[str, np.ndarray]):
        self.old, self.adapters = old, adapters
        self.writer = Writer(old.initializer)
        self.int8 = Int8Products(self.writer) if int8 else None
        self.numbers = Numbers(self.writer)
        if int8:
            self.numbers.change(old, strengths, self._matrix)
        self.scaled = int8 and self._scale_queries()
        self.norm: np.ndarray | None = None  # of the last hidden states, when these are turned
        self.adapted: set[str] = set()  # modules that adapters can change
        self.gates = {node.output[0]: node.input[0] for node in old.node if node.op_type == "Sigmoid"}
        self.products: dict[str, list[onnx.NodeProto]] = {}  # blockwise products by what they multiply
        for node in old.node:
            if node.op_type == BLOCKWISE:
                self.products.setdefault(node.input[0], []).append(node)

    def graph(self) -> onnx.GraphProto:
        for node in self.old.node:
            if MASK_PART not in node.name:
                self._place(node)
        strange = {name for adapter in self.adapters for name in adapter.factors} - self.adapted
        if strange:
            raise ValueError(
                f"adapters: {min(strange)} is no quantized matrix of this model; expected its own adapters"
            )
        past = [item for item in self.old.input if item.name not in ("input_ids", "attention_mask", "position_ids")]
        inputs = [
            _value("input_ids", TensorProto.INT64, ["rows"]), _value("spread", TensorProto.INT64, ["places"]),
            _value("back", TensorProto.INT64, ["rows"]), _value("shape", TensorProto.INT64, [3]),
            _value("seqlens", TensorProto.INT32, ["batch"]), _value("widths", TensorProto.INT32, ["batch"]),
            _value("total", TensorProto.INT32, []), _value("wanted", TensorProto.INT64, ["n"]), *past,
        ]  # fmt: skip
        inputs += [_value("adapters", TensorProto.INT64, ["rows"])] if self.adapters else []
        outputs = [_value("logits", TensorProto.FLOAT, None), _value("summed", TensorProto.FLOAT, None)]
        outputs += [item for item in self.old.output if item.name != "logits"]
        return helper.make_graph(self.writer.nodes, "served", inputs, outputs, self.writer.used_constants())

    def _place(self, node: onnx.NodeProto) -> None:
        if node.output[0] == "logits":
            node.input[0] = self._wanted(node.input[0])
        if plain(node):
            group = self.products.get(node.input[0], [node])
            if node.name == group[0].name:
                self._adapted_product(group)
        elif node.op_type == ATTENTION:
            self._attention(node)
        elif node.op_type == "Mul" and self.gates.get(node.input[1]) == node.input[0]:  # x * sigmoid(x)
            self.writer.add("QuickGelu", [node.input[0]], [node.output[0]], MICROSOFT, alpha=1.0)
        elif node.op_type != "Sigmoid":
            self.numbers.place(node)

    def _matrix(self, node: onnx.NodeProto) -> np.ndarray:
        return matrix(node, self.writer.tensor)

    def _wanted(self, hidden: str) -> str:
        """The rows of the last hidden states that are asked for."""
        self.norm = self.numbers.norm(hidden)
        self.writer.add(
            "ReduceSum", [hidden, self.writer.constant("first axis", np.array([0]))], ["summed"], keepdims=0
        )
        self.writer.add("Gather", [hidden, "wanted"], [WANTED], axis=0)
        self.products[WANTED] = self.products.get(hidden, [])
        self.numbers.alias(WANTED, hidden)
        return WANTED

    def _attention(self, node: onnx.NodeProto) -> None:
        """Attention alone sees sequences: [batch, width, heads * head_dim]."""
        inputs = [*node.input, *[""] * (17 - len(node.input))]
        for position in (0, 1, 2):
            if name := inputs[position]:
                places = self.writer.add("Gather", [name, "spread"], [name + ".places"], axis=0)
                inputs[position] = self.writer.add("Reshape", [places, "shape"], [name + ".sequences"])
        for position, name in LENGTHS.items():
            inputs[position] = name
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        sequences = node.output[0] + ".sequences"
        self.writer.add(ATTENTION, inputs, [sequences, *node.output[1:]], MICROSOFT, **attributes)
        width = int(attributes["num_heads"]) * self._head_size(node)
        flat = self.writer.constant(f"rows of {width}", np.array([-1, width]))
        places = self.writer.add("Reshape", [sequences, flat], [node.output[0] + ".places"])
        self.writer.add("Gather", [places, "back"], [node.output[0]], axis=0)

    def _scale_queries(self) -> bool:
        """Have all queries made as large as attention wants them, if that can be, so that it has nothing to scale.

        Then onnxruntime's products (MLAS) take a lone query to the keys as they lie; else they pack the keys first.
        """
        products = {node.output[0] for node in self.old.node if plain(node)}
        attentions = [node for node in self.old.node if node.op_type == ATTENTION]
        if any(node.input[0] not in products or any(node.input[KEY_SCALE:]) for node in attentions):
            return False
        for node in attentions:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            size, heads, others = self._head_size(node), attributes["num_heads"], 2 * attributes["kv_num_heads"]
            divisors = np.ones(size * (heads if node.input[1] else heads + others))  # keys and values beside them
            divisors[: size * heads] = 1 / (attributes.pop("scale", 0) or size**-0.5)
            self.numbers.divide(node.input[0], divisors)
            del node.attribute[:]
            node.attribute.extend(helper.make_attribute(*item) for item in (attributes | {"scale": 1.0}).items())
        return True

    def _head_size(self, node: onnx.NodeProto) -> int:
        """From the table of rotations, whose rows hold half a head."""
        return 2 * int(self.writer.constants[node.input[7]].dims[1])

    def _adapted_product(self, group: list[onnx.NodeProto]) -> None:
        """Products of one input, and beside them what adapters add to their results."""
        updates = {node.name: self._update(node) for node in group}
        outs = {node.name: node.output[0] for node in group}
        for node in group:
            if updates[node.name]:
                node.output[0] += BASE
        self._product(group)
        for name, update in updates.items():
            if update:
                self.adapted |= update.modules
                self._low_rank(name, group[0].input[0], update, outs[name])

    def _update(self, node: onnx.NodeProto) -> LowRank | None:
        if not self.adapters:
            return None
        attention = next(other for other in self.old.node if other.op_type == ATTENTION)
        heads = {kind: attribute(attention, f"{kind}num_heads") * self._head_size(attention) for kind in ("", "kv_")}
        parts = {"q_proj": heads[""], "k_proj": heads["kv_"], "v_proj": heads["kv_"]}
        own = node.name.split("/")[-2] if "/" in node.name else node.name
        parts.setdefault(own, attribute(node, "N"))
        return low_rank(node.name, attribute(node, "K"), parts, self.adapters)

    def _low_rank(self, name: str, source: str, update: LowRank, out: str) -> None:
        """`out` = its base and the update. Products by constant matrices sum in one order, however many the rows."""
        factor = np.ascontiguousarray(self.numbers.reading(source, update.down.T).T)
        down = self.writer.add("MatMul", [source, self.writer.constant(name + ".down", factor)], [name + ".low"])
        keep = self.writer.add(
            "Gather", [self.writer.constant(name + ".keep", update.keep), "adapters"], [name + ".kept"], axis=0
        )
        kept = self.writer.add("Mul", [down, keep], [name + ".own"])
        up = np.ascontiguousarray(self.numbers.writing(out, update.up.T).T)
        added = self.writer.add("MatMul", [kept, self.writer.constant(name + ".up", up)], [name + ".update"])
        self.writer.add("Add", [out + BASE, added], [out])

    def _product(self, group: list[onnx.NodeProto]) -> None:
        """Products of one input with several matrices."""
        if self.int8:
            for node in group:
                self._int8_product(self.int8, node)
        elif len(group) == 1 or len({form(node) for node in group}) > 1:
            self.writer.nodes.extend(group)
        else:
            self._joined_product(group)

    def _int8_product(self, int8: Int8Products, node: onnx.NodeProto) -> None:
        source, out = node.input[0], node.output[0]
        made = self.numbers.writing(out.removesuffix(BASE), self._matrix(node))
        rows, even = "wanted" if source == WANTED else "rows", self.numbers.norm(source) is not None
        int8.product(node.name, source, self.numbers.reading(source, made), out, rows, even)

    def _joined_product(self, group: list[onnx.NodeProto]) -> None:
        """Blockwise products as one: the same rows of codes and scales, one matrix below the other."""
        name, sizes = group[0].name, [attribute(node, "N") for node in group]
        rows, out = sum(sizes), name + ".joined"
        columns, bits, block, level = form(group[0])
        parts = [f"{name}.joined.codes", f"{name}.joined.scales", f"{name}.joined.zeros"]
        for place, part in enumerate(parts[: len(group[0].input) - 1], 1):
            tensors = [self.writer.tensor(node.input[place]).reshape(attribute(node, "N"), -1) for node in group]
            values = np.concatenate(tensors)
            self.writer.constant(part, values.reshape(rows, -1, block * bits // 8) if place == 1 else values)
        self.writer.add(
            BLOCKWISE, [group[0].input[0], *parts[: len(group[0].input) - 1]], [out], MICROSOFT,
            N=rows, K=columns, bits=bits, block_size=block, accuracy_level=level,
        )  # fmt: skip
        each = self.writer.constant(name + ".sizes", np.array(sizes))
        self.writer.add("Split", [out, each], [node.output[0] for node in group], axis=-1)


def _value(name: str, kind: int, shape: list[int | str] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
