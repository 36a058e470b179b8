"""What must hold whatever the constants are: closed forms, bounds and directions."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.losses import CHUNK_ELEMENTS, FEWEST_ROWS
from models.mesh import Mesh
from models.simulator.collectives import PLATEAU, PLATEAU_BYTES, Group, seconds, sent
from models.simulator.compute import GEMM_EFFICIENCY, gemm
from models.simulator.hardware import gpu, network
from models.simulator.job import FSDP2, INTERNEVO, Job
from models.simulator.memory import layer_activations, memory
from models.simulator.search import assess
from models.simulator.shape import Shape
from models.simulator.timeline import Timeline
from tests.models.simulator.internevo import SEVEN_B, cluster

A100 = gpu("A100-80G")
MESHES = st.builds(
    Mesh, replicate=st.sampled_from([1, 2, 8]), shard=st.sampled_from([1, 4, 8, 16]), tensor=st.sampled_from([1, 2, 4])
)


def job(mesh=None, micro_batch=1, accumulation=4, seq_len=2048, **more):
    return Job(SEVEN_B, seq_len, micro_batch, accumulation, mesh or Mesh(shard=8), **more)


def test_parameters_are_those_of_the_model_itself():
    from transformers import AutoModelForCausalLM, InternLM3Config

    shape = Shape(32, 3, 4, 2, 48, 101, tied=True)
    config = InternLM3Config(vocab_size=101, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, intermediate_size=48, tie_word_embeddings=True)  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == shape.parameters
    assert len(list(model.parameters())) == shape.tensors


def test_zero_stages_need_the_memory_that_the_paper_says():
    """Rajbhandari et al. 2020, table 1: 16 bytes per parameter, 4 + 12/N with sharded states, 16/N all sharded."""
    n, psi = 64, SEVEN_B.parameters
    paper = replace(FSDP2, gradient_bytes=2)

    def weights_and_states(mesh, scheme):
        found = memory(job(mesh, scheme=scheme))
        return found.weights + found.gradients + found.states

    assert weights_and_states(Mesh(replicate=n), INTERNEVO) == pytest.approx(16 * psi)
    assert weights_and_states(Mesh(shard=n), INTERNEVO) == pytest.approx((4 + 12 / n) * psi)
    sharded = memory(job(Mesh(shard=n, parameter_shard=n), scheme=paper))
    assert sharded.states == pytest.approx(12 * psi / n)
    live = 2 * (2 * SEVEN_B.layer_parameters + SEVEN_B.edge_parameters) + 2 * SEVEN_B.edge_parameters
    assert sharded.gradients + sharded.weights - 2 * psi / n == pytest.approx(live)  # what is gathered just now


def test_activations_of_a_layer_are_close_to_the_34_bytes_of_korthikanti():
    """Korthikanti et al. 2023, section 4: s b h 34 per layer of a GPT without stored scores; ours has a gated MLP."""
    one = job()
    per_value = layer_activations(one) / (one.tokens * SEVEN_B.hidden_size)
    assert 30 < per_value < 36


def test_sequence_parallelism_divides_all_activations_and_tensor_parallelism_alone_only_some():
    whole = layer_activations(job())
    for t in (2, 4, 8):
        assert layer_activations(job(Mesh(tensor=t))) == pytest.approx(whole / t)
        alone = layer_activations(job(Mesh(tensor=t), scheme=replace(FSDP2, sequence_parallel=False)))
        kept = 8 * SEVEN_B.hidden_size * job().tokens  # the norms' inputs and outputs (their section 4.2.1)
        assert alone == pytest.approx(kept + (whole - kept) / t)


def test_checkpointing_keeps_only_the_layers_inputs_and_costs_a_forward():
    plain, kept = job(micro_batch=2), job(micro_batch=2, checkpointing=True)
    layers, layer = SEVEN_B.layers, layer_activations(plain)
    assert memory(kept).activations == pytest.approx(2 * plain.tokens * SEVEN_B.hidden_size * layers + layer)
    ratio = assess(kept, cluster(8)).step.compute / assess(plain, cluster(8)).step.compute
    assert 1.2 < ratio < 4 / 3


@given(st.floats(1, 1e12), st.integers(2, 4096))
def test_a_ring_sends_what_it_must(size, ranks):
    """Patarasuk and Yuan 2009: 2 (n-1)/n of the data per rank is the least for an all-reduce."""
    assert sent("all_reduce", size, ranks) == pytest.approx(2 * (ranks - 1) / ranks * size)
    assert sent("all_reduce", size, ranks) == pytest.approx(
        sent("reduce_scatter", size, ranks) + sent("all_gather", size, ranks)
    )


@given(st.floats(1e3, 1e11), st.integers(1, 128))
@example(72_274.0, 2)
def test_collectives_never_beat_the_wire_and_grow_with_size_and_nodes(size, nodes):
    where, group = cluster(8 * nodes), Group(8, nodes)
    time = seconds("all_reduce", size, group, where)
    slowest = where.gpu.link if nodes == 1 else min(where.gpu.link, where.network.ports * where.network.port)
    assert time >= sent("all_reduce", size, 8 * nodes) / slowest
    assert seconds("all_reduce", 2 * size, group, where) >= time
    more = Group(8, nodes + 1)
    steps_down = nodes > 1 and group.ranks * PLATEAU_BYTES <= size < more.ranks * PLATEAU_BYTES  # as NCCL's model does
    least = time / PLATEAU if steps_down else time
    assert seconds("all_reduce", size, more, cluster(8 * nodes + 8)) >= least


def test_alone_nobody_sends_or_waits():
    step = assess(job(Mesh()), cluster(1)).step
    assert step.communication == step.exposed == step.stragglers == sum(step.bytes_sent.values()) == 0


@given(MESHES, st.sampled_from([1, 2, 4]), st.booleans())
def test_a_step_is_bounded_by_its_compute_and_by_doing_one_thing_after_the_other(mesh, micro_batch, checkpointing):
    step = assess(job(mesh, micro_batch, checkpointing=checkpointing), cluster(mesh.ranks)).step
    assert step.seconds >= step.compute + step.exposed
    assert step.seconds <= 1.3 * (step.compute + step.communication) + step.stragglers
    assert 0 <= step.overlap <= 1


@given(MESHES)
def test_memory_falls_when_more_ranks_share(mesh):
    fewer, more = job(mesh), job(replace(mesh, shard=2 * mesh.shard))
    assert memory(more).states == pytest.approx(memory(fewer).states / 2)
    assert memory(more).total < memory(fewer).total
    assert memory(job(replace(mesh, tensor=2 * mesh.tensor))).total < memory(fewer).total


@given(MESHES, st.sampled_from(["1x100Gb", "4x100Gb", "8x200Gb"]))
def test_a_faster_network_never_slows_a_step(mesh, slower):
    slow = replace(cluster(mesh.ranks), network=network(slower))
    fast = replace(slow, network=replace(slow.network, port=2 * slow.network.port))
    assert assess(job(mesh), fast).step.seconds <= assess(job(mesh), slow).step.seconds * (1 + 1e-9)


def test_products_reach_their_sustained_rate_when_large_and_the_memorys_when_small():
    large = 2 * 8192 * 8192 * 8192 / gemm(8192, 8192, 8192, A100) / A100.peak
    assert 0.9 * GEMM_EFFICIENCY < large <= GEMM_EFFICIENCY
    assert 2 * 1 * 4096 * 4096 / gemm(1, 4096, 4096, A100) / A100.peak < 0.01


def test_many_micro_batches_cost_what_the_third_one_did():
    steps = [assess(job(micro_batch=1, accumulation=n), cluster(8)).step.seconds for n in (3, 4, 5, 64)]
    assert steps[2] - steps[1] == pytest.approx(steps[1] - steps[0])
    assert steps[3] == pytest.approx(steps[0] + 61 * (steps[1] - steps[0]))


def test_muon_needs_less_memory_than_adamw_and_time_for_its_matrices():
    adamw, muon = (job(Mesh(shard=8), optimizer=name) for name in ("adamw", "muon"))
    assert memory(adamw).states - memory(muon).states == pytest.approx(4 * SEVEN_B.hidden_parameters / 8)
    assert assess(muon, cluster(8)).step.compute > assess(adamw, cluster(8)).step.compute


def test_streams_overlap_and_wait_for_what_feeds_them():
    time = Timeline()
    first = time.add("compute", 2.0)
    assert time.add("network", 3.0, first) == 5.0
    assert time.add("compute", 1.0) == 3.0
    assert time.add("network", 1.0, 3.0) == time.end == 6.0
    assert time.busy == {"compute": 3.0, "network": 4.0}


@pytest.mark.parametrize("text", ["100Gb", "4 by 100Gb", "0x100Gb", "4x0Gb", "4x100GB/s", ""])
def test_networks_written_otherwise_are_refused(text):
    with pytest.raises(ValueError, match="4x100Gb"):
        network(text)


def test_an_unknown_gpu_names_the_known_ones():
    with pytest.raises(ValueError, match="A100-80G"):
        gpu("A1000")


def test_a_loss_in_chunks_needs_memory_for_one_chunk_however_many_positions_there_are():
    shape = Shape(4096, 32, 32, 8, 14336, 128_256)
    few, many = (memory(Job(shape, 4096, n, 1, Mesh(shard=8))).logits for n in (1, 8))
    assert many - few == pytest.approx(4 * 7 * 4096 * shape.hidden_size)  # the gradient by the hidden states
    at_once = memory(Job(shape, 4096, 8, 1, Mesh(shard=8), scheme=replace(FSDP2, loss_elements=0))).logits
    assert many < at_once / 10
    assert (FSDP2.loss_elements, FSDP2.loss_rows) == (CHUNK_ELEMENTS, FEWEST_ROWS)


def test_keys_and_values_are_gathered_again_when_layers_are_computed_again():
    kept, again = (
        assess(job(Mesh(context=4, parameter_shard=4), checkpointing=value), cluster(8)).step.bytes_sent["context"]
        for value in (False, True)
    )
    assert again == pytest.approx(3 / 2 * kept)  # forward, forward again, and their gradients
