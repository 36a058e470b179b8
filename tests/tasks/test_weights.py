"""Weights out of a model source: as they are there, with rows for more tokens."""

import torch

from models.lm import Architecture, build, outline
from tasks.pretrain import PretrainConfig
from tasks.weights import pretrained_model


def test_a_source_is_the_same_network_with_rows_for_more_tokens(tmp_path):
    source = build(Architecture(64, 32, 2, 2, 1, 48, 64), bos_id=0, eos_id=2, pad_id=3, seed=0).eval()
    source.save_pretrained(tmp_path / "model")
    reference = PretrainConfig(init_from=str(tmp_path / "model")).init_from
    same, wider = (pretrained_model(reference, tmp_path / "state", size).eval() for size in (64, 70))
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected = source(ids).logits
        assert torch.equal(same(ids).logits, expected)
        assert torch.allclose(wider(ids).logits[..., :64], expected, atol=1e-6)
    table = wider.get_input_embeddings().weight
    assert wider.get_output_embeddings().weight is table
    shapes = [{name: tensor.shape for name, tensor in m.named_parameters()} for m in (wider, outline(wider.config))]
    assert shapes[0] == shapes[1]  # from the configuration alone, other processes know the network
    assert torch.allclose(table[64:], table[:64].mean(0).expand(6, -1))
