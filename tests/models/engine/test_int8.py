"""Products of bytes against those of full precision."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from models.engine.int8 import LARGEST, Int8Products, is_exact
from models.engine.writer import Writer

WIDTH = 64


def product(rows: np.ndarray, matrix: np.ndarray, even: bool) -> np.ndarray:
    writer = Writer([])
    Int8Products(writer).product("matrix", "x", matrix, "y", "rows", even)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]) for name in "xy")
    graph = helper.make_graph(writer.nodes, "product", [x], [y], writer.used_constants())
    sets = [helper.make_opsetid("", 22), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": rows})[0]


@pytest.mark.parametrize("even", [True, False])
def test_a_product_is_off_by_no_more_than_the_rounding_of_its_numbers(even):
    draw = np.random.default_rng(0)
    rows = draw.uniform(-1, 1, (8, WIDTH)) * (1 if even else 10.0 ** np.arange(8)[:, None])
    matrix = draw.normal(size=(3 * WIDTH // 2, WIDTH)) * 10.0 ** draw.uniform(-2, 2, (3 * WIDTH // 2, 1))  # [out, in]
    step = (np.full((8, 1), LARGEST) if even else np.abs(rows).max(1, keepdims=True)) / 127
    coarse = np.abs(matrix).max(1) / 127  # of a row of the matrix
    allowed = (step * np.abs(matrix).sum(1) + coarse * np.abs(rows).sum(1, keepdims=True)) / 2
    found = product(rows.astype(np.float32), matrix.astype(np.float32), even)
    error = np.abs(found - rows @ matrix.T)
    assert (error <= allowed * 1.01 + WIDTH * step * coarse / 4).all()
    assert np.median(error / allowed) < 0.2  # errors of both signs, none of them a wrong scale's


@pytest.mark.skipif(not is_exact(), reason="on this processor sums of bytes saturate, and nothing is multiplied so")
def test_sums_of_large_numbers_are_exact():
    rows, matrix = np.full((2, 1024), LARGEST, np.float32), np.ones((8, 1024), np.float32)
    assert np.allclose(product(rows, matrix, even=True), 1024 * LARGEST, rtol=1e-5)
    assert np.allclose(product(-rows, matrix, even=False), -1024 * LARGEST, rtol=1e-5)


def test_even_rows_are_cut_at_the_largest():
    row = np.linspace(-9, 9, WIDTH, dtype=np.float32)[None]
    found = product(row, np.eye(WIDTH, dtype=np.float32), even=True)
    step = LARGEST / 127
    assert np.abs(found - row.clip(-LARGEST - step, LARGEST)).max() <= step / 2 * 1.001


def test_a_row_of_zeros_gives_zeros_and_other_rows_do_not_see_it():
    rows = np.ones((2, WIDTH), np.float32)
    rows[0] = 0
    found = product(rows, np.eye(WIDTH, dtype=np.float32), even=False)
    assert not found[0].any() and np.allclose(found[1], 1, atol=0.01)
