"""Products of bytes: weights rounded per column, activations per row, symmetrically, `q = round(127 x / max|x|)`.

(Yao et al. 2022, ZeroQuant, section 3.) Sums of integers are exact, so a row's result never depends on its neighbours.
"""

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from models.engine.writer import MICROSOFT, Writer


def is_exact() -> bool:
    """Whether this processor multiplies unsigned by signed bytes without saturating (before VNNI, x86 did not)."""
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    inputs = [helper.make_tensor_value_info("a", TensorProto.UINT8, ["n", 64])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT32, ["n", 16])]
    weights = numpy_helper.from_array(np.full((64, 16), 127, np.int8), "b")
    graph = helper.make_graph([node], "probe", inputs, outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return bool((session.run(None, {"a": np.full((8, 64), 255, np.uint8)})[0] == 255 * 127 * 64).all())


class Int8Products:
    """Writes them; what several products read is rounded once."""

    def __init__(self, writer: Writer):
        self._writer = writer
        self._rounded: set[str] = set()

    def product(self, name: str, source: str, matrix: np.ndarray, out: str) -> None:
        """`out` = rows of `source` times `matrix` [N, K]."""
        scales = np.abs(matrix).max(axis=1) / np.float32(127)
        scales[scales == 0] = 1
        codes = np.round(matrix / scales[:, None]).astype(np.int8)
        weights = self._writer.constant(name + ".int8", np.ascontiguousarray(codes.T))
        step, zero = self._step()
        self._round(source)
        inputs = [source + ".int8", weights, step, self._writer.constant(name + ".scales", scales), zero]
        self._writer.add("MatMulIntegerToFloat", inputs, [out + ".unit"], MICROSOFT)
        self._writer.add("Mul", [out + ".unit", source + ".largest"], [out])

    def _round(self, source: str) -> None:
        """Rows of `source` as bytes around 128, and the largest magnitude of each row."""
        if source in self._rounded:
            return
        self._rounded.add(source)
        add = self._writer.add
        magnitudes = add("Abs", [source], [source + ".magnitudes"])
        last = self._writer.constant("last axis", np.array([-1]))
        largest = add("ReduceMax", [magnitudes, last], [source + ".largest"], keepdims=1)
        unit = add("Div", [source, largest], [source + ".unit"])  # a row of zeros gives what zero then multiplies
        add("QuantizeLinear", [unit, *self._step()], [source + ".int8"])

    def _step(self) -> tuple[str, str]:
        step = self._writer.constant("int8 step", np.array(1 / 127, np.float32))
        return step, self._writer.constant("int8 zero", np.array(128, np.uint8))
