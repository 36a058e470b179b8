"""Networks of other kinds than ours on several processes: buffers, mixed layers, layer norms."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from models.lm import outline
from models.mesh import Mesh
from models.parallel import Parallel, decoder_layers
from tests.processes import run
from tests.training import TINY, trained

FSDP = Mesh(shard=2, parameter_shard=2)
EXPERTS = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "head_dim": 16, "intermediate_size": 48, "moe_intermediate_size": 16, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "max_position_embeddings": 64,
}  # fmt: skip


LLAMA = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip


def differing(rank, mesh, kind, settings):
    """What of a model that the first rank alone has is not the same after it was shared and put together again."""
    config = AutoConfig.for_model(kind, **settings)
    model = outline(config) if rank else AutoModelForCausalLM.from_config(config)
    for buffer in [] if rank else model.buffers():
        buffer.add_(torch.rand_like(buffer)) if buffer.is_floating_point() else None
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parallel = Parallel(mesh, bf16=False)
    parallel.prepare(model)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    tables = torch.stack([buffer.double().sum() for buffer in model.buffers()])
    assert parallel.gathered(tables.tolist())[0] == tables.tolist()
    whole = parallel.whole(model)
    if rank:
        return [] if whole is None else ["a second whole"]
    after = whole.state_dict()
    return [name for name in before | after if name not in after or not torch.equal(before[name], after[name])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "kind", "settings"),
    [
        (FSDP, "glm4_moe", EXPERTS),
        (FSDP, "llama", LLAMA | {"tie_word_embeddings": True}),
        (Mesh(tensor=2), "llama", LLAMA | {"num_hidden_layers": 3}),
    ],
    ids=["experts, which have buffers", "tied", "tensor"],
)
def test_what_the_first_rank_has_is_shared_and_put_together_again(tmp_path, mesh, kind, settings):
    assert run(differing, 2, tmp_path, mesh, kind, settings) == [[], []]


@pytest.mark.slow
def test_layer_norms_are_shared_in_bf16_as_on_one_process(tmp_path):
    settings = {"bf16": True, "architecture": replace(TINY, kind="gpt2", kv_heads=4), "steps": 3}
    found = run(in_bf16, 2, tmp_path, FSDP, tmp_path / "two", settings)
    alone = trained(0, None, tmp_path / "alone", **settings)
    assert [loss for loss, _ in found[0]] == pytest.approx([loss for loss, _ in alone], rel=4e-3)


def in_bf16(rank, mesh, folder, settings):
    return trained(rank, mesh, folder, **settings)


def test_layers_of_several_kinds_are_known_as_the_networks_layers():
    config = AutoConfig.for_model("jamba", vocab_size=64, hidden_size=32, num_hidden_layers=8, num_attention_heads=2,
        num_key_value_heads=2, intermediate_size=48, num_experts=2)  # fmt: skip
    model = outline(config)
    layers = decoder_layers(model)
    assert layers is model.model.layers and len({type(layer) for layer in layers}) == 2
