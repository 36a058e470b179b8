"""Quantized matrices into the drawn graph: MatMul becomes MatMulNBits, the token table GatherBlockQuantized."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor
from torch import Tensor

from models.engine import smoothing
from models.engine.adapters import JOINED
from models.engine.smoothing import CODES
from models.quantization import Quantized, packed, stacked

COMPUTE_INT8 = 4  # accuracy level: activations are rounded to int8 per block, the fast kernels of the CPU
DOMAIN = "com.microsoft"
SUFFIX = ".MatMul.weight"
HEAD, TABLE = "lm_head", "model.embed_tokens"
DATA = "model.onnx.data"


def fill(
    drawn: Path,
    target: Path,
    matrices: Mapping[str, Quantized],
    vectors: Mapping[str, Tensor],
    strengths: Mapping[str, Tensor],
    cache: Sequence[tuple[Tensor, Tensor]] = (),
) -> None:
    """Write into `target` the graph of `drawn` with `matrices` (by module name) and `vectors` (by parameter name).

    A tied token table reads the head's matrix. `strengths` of the modules' inputs are noted for int8 products. With
    `cache`, the scales of each layer's keys and values, these are kept in int8. All other files are copied. The same
    inputs give the same bytes.
    Raises KeyError when the graph multiplies by a matrix that was not quantized.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in drawn.iterdir():
        if not path.name.startswith("model.onnx"):
            shutil.copyfile(path, target / path.name)
    model = onnx.load(str(drawn / "model.onnx"), load_external_data=False)
    filled = _Filled(matrices, cache)
    nodes = [new for node in model.graph.node for new in filled.replaced(node)]
    if cache:
        for item in (*model.graph.input, *model.graph.output, *model.graph.value_info):
            if item.name.startswith(("past_key_values.", "present.")):
                item.type.tensor_type.elem_type = onnx.TensorProto.INT8
    used = {name for node in nodes for name in node.input} - filled.tensors.keys()
    kept = [_kept(tensor, drawn, vectors) for tensor in model.graph.initializer if tensor.name in used]
    _replace(model.graph.node, nodes)
    _replace(model.graph.initializer, [*kept, *filled.tensors.values()])
    (target / DATA).unlink(missing_ok=True)  # onnx would write behind what an earlier, unfinished fill left
    onnx.save_model(model, str(target / "model.onnx"), save_as_external_data=True, location=DATA)
    names = {name.removesuffix(CODES) for name in filled.tensors if name.endswith(CODES)}
    known = {name: strengths.get(_modules(name)[0]) for name in sorted(names)}
    smoothing.save({name: strength.numpy() for name, strength in known.items() if strength is not None}, target)


class _Filled:
    """The nodes that compute with quantized matrices, and their tensors by name."""

    def __init__(self, matrices: Mapping[str, Quantized], cache: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.matrices, self.cache = matrices, cache
        self.tensors: dict[str, onnx.TensorProto] = {}

    def replaced(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """What stands in the node's place."""
        if node.op_type == "MatMul" and node.input[1].endswith(SUFFIX):
            yield self._product(node)
        elif node.op_type == "Transpose" and node.input[0] == HEAD + SUFFIX:
            return  # the tied table reads the head's rows as they are
        elif node.op_type == "Gather" and node.input[1] == "input_ids":
            yield from self._lookup(node, TABLE if node.input[0] == f"{TABLE}.weight" else HEAD)
        elif node.op_type == "GroupQueryAttention" and self.cache:
            yield self._attention(node)
        else:
            yield node

    def _attention(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """The same with keys and values in int8, a scale for each channel."""
        layer = int(node.name.partition("/layers.")[2].partition("/")[0])
        names = [
            self._constant(f"model.layers.{layer}.attn.{kind}_scale", scales.numpy())
            for kind, scales in zip("kv", self.cache[layer], strict=True)
        ]
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        inputs = [*node.input, *[""] * (12 - len(node.input)), *names]
        return helper.make_node(
            node.op_type, inputs, list(node.output), name=node.name, domain=DOMAIN,
            **attributes, k_quant_type="PER_CHANNEL", v_quant_type="PER_CHANNEL", kv_cache_bit_width=8,
        )  # fmt: skip

    def _product(self, node: onnx.NodeProto) -> onnx.NodeProto:
        name = node.input[1].removesuffix(SUFFIX)
        matrix = stacked([self.matrices[part] for part in _modules(name)])
        names, form = self._store(name, matrix), matrix.format
        rows, columns = matrix.codes.shape
        return helper.make_node(
            "MatMulNBits", [node.input[0], *names], list(node.output), name=f"{node.name}NBits", domain=DOMAIN,
            N=rows, K=columns, bits=form.bits, block_size=form.block, accuracy_level=COMPUTE_INT8,
        )  # fmt: skip

    def _lookup(self, node: onnx.NodeProto, name: str) -> Iterator[onnx.NodeProto]:
        """Rows of the token table by id, cut to the width where their blocks reach further."""
        matrix = self.matrices[name]
        (data, scales), form = self._store(name, matrix), matrix.format
        rows, columns = matrix.codes.shape
        width = matrix.scales.shape[1] * form.block
        shape = self._constant(f"{name}.shape", np.array([rows, width * form.bits // 8]))
        out = node.output[0]
        yield helper.make_node("Reshape", [data, shape], [f"{data}.rows"], name=f"{node.name}/Reshape")
        yield helper.make_node(
            "GatherBlockQuantized", [f"{data}.rows", node.input[1], scales],
            [out if width == columns else f"{out}.padded"], name=f"{node.name}BlockQuantized", domain=DOMAIN,
            bits=form.bits, block_size=form.block, gather_axis=0, quantize_axis=1,
        )  # fmt: skip
        if width != columns:
            cut = [
                self._constant(f"{name}.{k}", np.array([v])) for k, v in (("from", 0), ("to", columns), ("axis", -1))
            ]
            yield helper.make_node("Slice", [f"{out}.padded", *cut], [out], name=f"{node.name}/Slice")

    def _store(self, name: str, matrix: Quantized) -> list[str]:
        data, scales = packed(matrix)
        return [self._constant(name + CODES, data), self._constant(f"{name}.scales", scales)]

    def _constant(self, name: str, values: np.ndarray) -> str:
        if name not in self.tensors:
            self.tensors[name] = numpy_helper.from_array(values, name)
        return name


def _modules(name: str) -> list[str]:
    """Names of the modules whose rows the builder's matrix holds, in their order."""
    parent, _, last = name.replace(".attn.", ".self_attn.").rpartition(".")
    return [f"{parent}.{part}".removeprefix(".") for part in JOINED.get(last, (last,))]


def _kept(tensor: onnx.TensorProto, drawn: Path, vectors: Mapping[str, Tensor]) -> onnx.TensorProto:
    """A tensor of the drawn graph with its values, those of `vectors` where they name it."""
    if tensor.name in vectors:
        return numpy_helper.from_array(vectors[tensor.name].float().numpy(), tensor.name)
    if tensor.external_data:
        load_external_data_for_tensor(tensor, str(drawn))
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return tensor


def _replace(field: Any, values: list[Any]) -> None:
    del field[:]
    field.extend(values)
