import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.quantization import Format, gptq, output_error, packed, round_to_nearest, stacked, unpacked

FORMATS = [Format(4, 32), Format(8, 32), Format(4, 16), Format(8, 128)]


def _matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("form", FORMATS, ids=str)
@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 5), columns=st.integers(1, 100), seed=st.integers(0, 99))
def test_bytes_give_the_matrix_back(form, rows, columns, seed):
    matrix = round_to_nearest(_matrix(rows, columns, seed), form)
    data, scales = packed(matrix)
    assert data.shape == (rows, -(-columns // form.block), form.block * form.bits // 8)
    assert torch.equal(unpacked(data, scales, columns, form).dequantized(), matrix.dequantized())


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_no_weight_moves_further_than_the_step_of_plain_rounding(form):
    weight = _matrix(8, 256)
    blocks = weight.reshape(8, -1, form.block)
    step = blocks.abs().amax(-1, keepdim=True) / (form.zero - 1)
    assert ((round_to_nearest(weight, form).dequantized() - weight).reshape(blocks.shape).abs() <= step).all()


def test_scales_survive_fp16():
    scales = round_to_nearest(_matrix(8, 64) * 1e-3, Format(4, 32)).scales
    assert torch.equal(scales.half().float(), scales)


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.25, -3.0])
def test_constant_blocks_keep_their_value(value):
    rounded = round_to_nearest(torch.full((2, 32), value), Format(4, 32)).dequantized()
    assert torch.allclose(rounded, torch.full((2, 32), value), rtol=1e-3, atol=1e-6)


def test_rows_stack():
    parts = [round_to_nearest(_matrix(rows, 64, rows), Format(4, 32)) for rows in (3, 5)]
    assert torch.equal(stacked(parts).dequantized(), torch.cat([part.dequantized() for part in parts]))


def _moment(columns: int) -> torch.Tensor:
    """Inputs that depend on each other, some much stronger than others."""
    inputs = _matrix(4 * columns, columns // 4, 1) @ _matrix(columns // 4, columns, 2)
    inputs = (inputs + 0.3 * _matrix(4 * columns, columns, 3)) * torch.logspace(-1, 1, columns)
    return inputs.t() @ inputs


@pytest.mark.parametrize("columns", [64, 96, 200])
def test_gptq_loses_far_less_output_than_rounding_to_nearest(columns):
    weight, moment, form = _matrix(48, columns), _moment(columns), Format(4, 32)
    nearest = output_error(weight, round_to_nearest(weight, form).dequantized(), moment)
    assert output_error(weight, gptq(weight, moment, form).dequantized(), moment) < 0.5 * nearest


def test_gptq_bears_inputs_that_were_never_seen():
    moment = _moment(64)
    moment[10:20] = moment[:, 10:20] = 0
    rounded = gptq(_matrix(8, 64), moment, Format(4, 32)).dequantized()
    assert rounded.isfinite().all()
    unseen = gptq(_matrix(8, 64), torch.zeros(64, 64), Format(4, 32))
    assert np.allclose(unseen.dequantized(), round_to_nearest(_matrix(8, 64), Format(4, 32)).dequantized(), atol=0.5)
