"""Products in 8 bits: near those in 16, of the hidden layers alone, and a model learns by them as well."""

import pytest
import torch

from models.fp8 import Float8Linear, missing, scaled, use_float8
from models.lm import Architecture, Batch, build, next_token_loss

ARCHITECTURE = Architecture(96, 64, 2, 4, 2, 128, 64)


def test_products_and_gradients_are_those_of_bf16_within_the_types_precision():
    """e4m3 keeps 3 bits behind the point (rounding 2^-4), e5m2 two (2^-3): errors average over a product's terms."""
    draw = torch.Generator().manual_seed(0)
    plain = torch.nn.Linear(64, 48, bias=True)
    eight = Float8Linear(plain)
    inputs = torch.randn(3, 7, 64, generator=draw).to(torch.bfloat16)  # 21 rows, which 16 does not divide
    weights = torch.randn(3, 7, 48, generator=draw)
    results = []
    for module in (eight, plain):
        given = inputs.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = module(given)
        found = torch.autograd.grad((outputs.float() * weights).sum(), (given, plain.weight, plain.bias))
        results.append((outputs, *found))
    for ours, theirs, bound in zip(*results, (0.05, 0.08, 0.08, 1e-2), strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        assert (ours.float() - theirs.float()).norm() < bound * theirs.float().norm()


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_scales_use_the_whole_range_and_zeros_stay_zeros(kind, size):
    values = torch.linspace(-1, 1, 33)[None] * size
    rounded, back = scaled(values, kind)
    assert rounded.float().abs().max() == torch.finfo(kind).max
    assert torch.allclose(rounded.float() * back, values, rtol=2**-3, atol=size * 2**-8)
    assert scaled(torch.zeros(2, 2), kind)[0].float().abs().sum() == 0
    assert scaled(torch.tensor([[1.0, float("nan")]]), kind)[0].float().isnan().any()


def test_a_model_learns_in_8_bits_as_in_16_and_keeps_its_names():
    ids = torch.randint(4, 90, (4, 33), generator=torch.Generator().manual_seed(1))
    batch = Batch(ids[:, :-1], torch.arange(32).expand(4, 32), ids[:, 1:])
    curves, names = [], []
    for eight in (True, False):
        model = build(ARCHITECTURE, bos_id=0, eos_id=2, pad_id=3, seed=0)
        assert not eight or use_float8(model) == 2 * 7  # q, k, v, o, gate, up, down of each layer
        optimizer, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
        for _ in range(20):
            with torch.autocast("cpu", torch.bfloat16):
                loss = next_token_loss(model, batch) / 128
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        curves.append(losses)
        names.append(list(model.state_dict()))
    assert names[0] == names[1]
    assert curves[0] == pytest.approx(curves[1], rel=0.03)
    assert curves[0][-1] < 0.6 * curves[0][0]


def test_a_cpu_is_told_that_it_cannot():
    assert "cpu" in missing(torch.device("cpu"))
