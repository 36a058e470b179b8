"""Several adapters over one quantized model, one per request."""

import functools
import shutil

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from models.engine import Limits, OnnxSession, Sampling, Scheduler, read_adapters
from models.engine.adapters import save_rescaling
from models.engine.batch import Answer
from models.lm import load
from models.quantization import moments
from tasks.quantize.fill import fill
from tasks.quantize.rounding import Recipe, Rounding
from tests import tiny

TOKENS = np.array([[20, 31, 42, 53, 64, 75, 86]])


@functools.cache
def adapters_folder():
    """Two adapters of the tiny model: one of all matrices, one of some."""
    home = tiny.folder()
    for name, targets, rank in (("all", "all-linear", 4), ("some", ["q_proj", "down_proj"], 3)):
        torch.manual_seed(rank)
        config = LoraConfig(
            r=rank, lora_alpha=8, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM"
        )
        get_peft_model(AutoModelForCausalLM.from_pretrained(tiny.hf_model()), config).save_pretrained(home / name)
    return home


@pytest.fixture(scope="module", params=["blockwise", "int8", "mixed"])
def sessions(request) -> tuple[OnnxSession, OnnxSession]:
    """The same model with adapters and without."""
    options = {"slots": 6, "length": 256, "threads": 1, "products": request.param, "drafts": True}
    with_adapters = OnnxSession(
        tiny.int4_model(), **options, adapters=read_adapters(adapters_folder(), tiny.int4_model())
    )
    return with_adapters, OnnxSession(tiny.int4_model(), **options)


def logits(session: OnnxSession, adapter: int) -> np.ndarray:
    return session.forward(TOKENS, np.zeros(1, np.int64), reading=True, adapters=np.array([adapter]))[0].copy()


def test_without_an_adapter_nothing_changes_by_a_bit(sessions):
    adapted, plain = sessions
    expected = plain.forward(TOKENS, np.zeros(1, np.int64), reading=True)[0].copy()
    assert adapted.adapters == ("all", "some")
    assert np.array_equal(logits(adapted, 0), expected)
    assert not np.allclose(logits(adapted, 1), logits(adapted, 2), atol=0.1)


@pytest.mark.parametrize(("number", "name"), [(1, "all"), (2, "some")])
def test_an_adapter_changes_the_model_as_peft_does(sessions, number, name):
    adapted, _ = sessions
    model = AutoModelForCausalLM.from_pretrained(tiny.hf_model(), dtype=torch.float32)
    with torch.no_grad():
        plain = model(torch.tensor(TOKENS)).logits[0].numpy()
        changed = PeftModel.from_pretrained(model, adapters_folder() / name)(torch.tensor(TOKENS)).logits[0].numpy()
    # what the adapter does is far more than what rounding to int4 does
    rounding, effect = np.abs(logits(adapted, 0) - plain).mean(), np.abs(changed - plain).mean()
    assert effect > 3 * rounding
    assert np.abs(logits(adapted, number) - changed).mean() < 3 * rounding


def test_an_adapter_fits_a_model_whose_recipe_rescaled_its_inputs(tmp_path):
    model = load(tiny.hf_model())
    windows = torch.from_numpy(np.random.default_rng(3).integers(8, 500, (4, 64)))
    rounding, recipe = Rounding(model, moments(model, windows), 32), Recipe("awq", 8)
    drawn = tiny.int4_model().parent / "drawn"
    fill(drawn, tmp_path, rounding.matrices(recipe), rounding.vectors(recipe), rounding.strengths(recipe))
    save_rescaling({name: scale.numpy() for name, scale in rounding.rescaling(recipe).items()}, tmp_path)
    adapters = read_adapters(adapters_folder(), tmp_path)
    unscaled = read_adapters(adapters_folder(), tiny.int4_model())
    sessions = [OnnxSession(tmp_path, 1, 64, 1, products="blockwise", adapters=each) for each in (adapters, unscaled)]
    with torch.no_grad():
        changed = PeftModel.from_pretrained(model, adapters_folder() / "all")(torch.tensor(TOKENS)).logits[0].numpy()
    right, wrong = (np.abs(logits(session, 1) - changed).mean() for session in sessions)
    assert right < 0.1 * np.abs(changed).mean()
    assert wrong > 3 * right


def answers(session: OnnxSession, tokenizer, wanted: list[tuple[list[int], int]], limits: Limits) -> list[list[int]]:
    scheduler, kept = Scheduler(session, tokenizer, limits), []
    for prompt, adapter in wanted:
        kept.append(Answer())
        how = Sampling(temperature=0, max_tokens=16, ignore_end=True)
        scheduler.waiting.append(scheduler.prepare(prompt, how, kept[-1].take, adapter))
    while scheduler.busy:
        scheduler.step()
    return [answer.tokens for answer in kept]


def test_answers_are_the_same_alone_and_beside_other_adapters(sessions, tokenizer):
    adapted, _ = sessions
    numbers = np.random.default_rng(5)
    shared = [int(token) for token in numbers.integers(8, 500, 70)]
    prompts = [shared[: 3 * k] + [int(t) for t in numbers.integers(8, 500, 1 + k)] for k in range(24)]
    wanted = [(prompt, place % 3) for place, prompt in enumerate(prompts)]
    wanted += [(prompt, (place + 1) % 3) for place, prompt in enumerate(prompts)]
    alone = [answers(adapted, tokenizer, [one], Limits())[0] for one in wanted]
    for limits in (Limits(), Limits(chunk=32, guess=4, prefix=600), Limits(guess=4, positions=300, prefix=64)):
        assert answers(adapted, tokenizer, wanted, limits) == alone
    assert alone[:24] != alone[24:]


def test_the_adapters_of_another_model_are_refused(tmp_path):
    folder = shutil.copytree(adapters_folder(), tmp_path / "adapters")
    config = (folder / "some" / "adapter_config.json").read_text()
    (folder / "some" / "adapter_config.json").write_text(config.replace('"use_dora": false', '"use_dora": true'))
    with pytest.raises(ValueError, match=r"some: expected plain LoRA.*use_dora"):
        read_adapters(folder, folder)
    (folder / "some" / "adapter_config.json").write_text(config)
    (folder / "all" / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"all.adapter_model\.safetensors: missing"):
        read_adapters(folder, folder)
    with pytest.raises(ValueError, match="no adapter"):
        read_adapters(tmp_path, tmp_path)
    other = read_adapters(adapters_folder(), tiny.int4_model())[0]
    factors = {name: (down[:, 1:], up) for name, (down, up) in other.factors.items()}
    with pytest.raises(ValueError, match=r"adapter all: layers\.0\.qkv_proj: factors"):
        OnnxSession(tiny.int4_model(), slots=1, adapters=[type(other)("all", factors)])
    elsewhere = {name.replace("layers.0", "layers.7"): both for name, both in other.factors.items()}
    with pytest.raises(ValueError, match=r"layers\.7\.\w+ is no quantized matrix"):
        OnnxSession(tiny.int4_model(), slots=1, adapters=[type(other)("all", elsewhere)])
