"""What tensors of a graph hold when it multiplies bytes: other numbers, of which bytes lose less, and the same results.

The residual stream is turned (models/engine/rotation.py); other strong tensors are divided (smoothing.py).
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import TensorProto

from models.engine import rotation, smoothing
from models.engine.blockwise import table
from models.engine.smoothing import NORM_WEIGHT
from models.engine.writer import Writer

ROWS = ".rows"  # after the name of a token table's codes: in the shape in which they are looked up


class Numbers:
    """The graph's own numbers, until `change` chooses others."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._divisors: dict[str, np.ndarray] = {}
        self._stream: rotation.Stream | None = None  # turned
        self._normed: dict[str, np.ndarray] = {}  # tensors behind norms, turned -> the norms' weights

    def change(
        self,
        graph: onnx.GraphProto,
        strengths: Mapping[str, np.ndarray],
        matrix: Callable[[onnx.NodeProto], np.ndarray],
    ) -> None:
        """Turn the residual stream where that can be done, divide what else is known to have strong columns.

        `matrix(node)` gives the matrix [N, K] of a blockwise product.
        """
        self._stream = stream = rotation.stream(graph)
        if stream:
            self._normed = {name: self._writer.tensor(weights) for name, weights in stream.normed.items()}
        self._divisors = smoothing.plan(graph, strengths, matrix, self._normed)

    def divide(self, name: str, divisors: np.ndarray) -> None:
        """Have the columns of a tensor made divided, for a reader that is no product."""
        self._divisors[name] = self._divisor(name) * divisors.astype(np.float32)

    def alias(self, name: str, source: str) -> None:
        """`name` holds rows of `source`."""
        if source in self._normed:
            self._normed[name] = self._normed[source]

    def reading(self, source: str, matrix: np.ndarray) -> np.ndarray:
        """A matrix [N, K] that reads `source`."""
        if source in self._normed:
            return rotation.turned(matrix * self._normed[source])
        return matrix * self._divisor(source)

    def writing(self, out: str, matrix: np.ndarray) -> np.ndarray:
        """A matrix [N, K] that makes `out`."""
        if self._stream and out in self._stream.written:
            return rotation.turned(matrix.T).T
        return matrix / self._divisor(out)[:, None]

    def place(self, node: onnx.NodeProto) -> None:
        """Write a node that is no product: a lookup of tokens, a norm, or another as it is."""
        out, weights, stream = node.output[0], NORM_WEIGHT.get(node.op_type, 0), self._stream
        if stream and node.name == stream.lookup:
            self._look_up(node, stream.tokens)
            return
        if stream and out in (stream.table, stream.tokens):  # codes in another shape, rows that are cut: not needed now
            return
        if weights and out in self._normed:
            node.input[weights] = self._writer.constant(node.name + ".ones", np.ones_like(self._normed[out]))
        elif weights and out in self._divisors:
            divided = self._writer.tensor(node.input[weights]) / self._divisor(out)
            node.input[weights] = self._writer.constant(node.name + ".smooth", divided)
        self._writer.nodes.append(node)

    def norm(self, source: str) -> np.ndarray | None:
        """The weights [K] that a turned tensor lacks; None where it is as it was."""
        return self._normed.get(source)

    def _look_up(self, node: onnx.NodeProto, tokens: str) -> None:
        """`tokens` are rows of the turned token table, which is kept in fp16."""
        codes = self._writer.tensor(node.input[0].removesuffix(ROWS))
        width = len(next(iter(self._normed.values())))
        turned = rotation.turned(table(node, codes, self._writer.tensor)[:, :width])
        rows = self._writer.constant("tokens.turned", turned.astype(np.float16))
        self._writer.add("Gather", [rows, node.input[1]], ["tokens.half"], axis=0)
        self._writer.add("Cast", ["tokens.half"], [tokens], to=TensorProto.FLOAT)

    def _divisor(self, tensor: str) -> np.ndarray:
        """[1] or a scale for each column."""
        return self._divisors.get(tensor, np.ones(1, np.float32))
