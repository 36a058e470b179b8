"""Products of bytes: weights rounded per column, activations per row or all alike, symmetrically.

`q = round(127 x / largest)`, of a row (Yao et al. 2022, ZeroQuant, section 3) or LARGEST of all. Sums of integers are
exact, so a row's result never depends on its neighbours.
"""

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from models.engine.writer import MICROSOFT, Writer

LARGEST = 4.5  # root mean squares: of normally distributed rows of 576 numbers one in 250 has a larger one


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
    """Writes them; what several products read is rounded once.

    Rows that are `even`, of root mean square 1 with no channel that stands out, share one step, up to LARGEST: nothing
    need be known of a row, nor multiplied into what comes of it. Others have a step of their own, up to their largest.
    """

    def __init__(self, writer: Writer):
        self._writer = writer
        self._zero = writer.constant("int8 zero", np.array(128, np.uint8))
        self._zeros: dict[str, str] = {}
        self._steps: dict[str, str] = {}

    def product(self, name: str, source: str, matrix: np.ndarray, out: str, rows: str, even: bool) -> None:
        """`out` = rows of `source` times `matrix` [N, K]; `rows` tells apart sources of other numbers of rows."""
        scales = np.abs(matrix).max(axis=1) / np.float32(127)
        scales[scales == 0] = 1
        codes = np.round(matrix / scales[:, None]).astype(np.int8)
        weights = self._writer.constant(name + ".int8", np.ascontiguousarray(codes.T))
        if source not in self._steps:
            self._steps[source] = self._round_even(source) if even else self._round(source, matrix.shape[1], rows)
        step = self._steps[source] if even else self._writer.constant("int8 one", np.array(1, np.float32))
        inputs = [source + ".int8", weights, step, self._writer.constant(name + ".scales", scales), self._zero]
        product = self._writer.add("MatMulIntegerToFloat", inputs, [out if even else out + ".unit"], MICROSOFT)
        if not even:
            self._writer.add("Mul", [product, self._steps[source]], [out])

    def _round_even(self, source: str) -> str:
        """Rows as bytes around 128; the name of their step."""
        step = self._writer.constant("int8 even step", np.array(LARGEST / 127, np.float32))
        self._writer.add("QuantizeLinear", [source, step, self._zero], [source + ".int8"])
        return step

    def _round(self, source: str, width: int, rows: str) -> str:
        """Rows of so many numbers as bytes around 128; the name of their steps [rows, 1]."""
        add, part = self._writer.add, self._writer.constant("int8 part", np.array(1 / 127, np.float32))
        magnitudes = add("Abs", [source], [source + ".magnitudes"])
        last = self._writer.constant("last axis", np.array([-1]))
        largest = add("ReduceMax", [magnitudes, last], [source + ".largest"], keepdims=1)
        steps = add("Mul", [largest, part], [source + ".steps"])  # 0 of a row of zeros, whatever its bytes then are
        if rows not in self._zeros:
            self._zeros[rows] = add("Expand", [self._zero, add("Shape", [steps], [rows + ".shape"])], [rows + ".zeros"])
        inputs = [source, steps, self._zeros[rows]]
        add("QuantizeLinear", inputs, [source + ".int8"], axis=1, block_size=width)
        return steps
