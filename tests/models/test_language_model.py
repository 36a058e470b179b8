import numpy as np
import pytest

from models.engine import Sampling
from models.language_model import LanguageModel, token_log_probs
from tasks.chat import encode_prompt
from tests import tiny


@pytest.fixture(scope="module")
def full():
    return LanguageModel.load(tiny.hf_model(), slots=4, length=128)


@pytest.fixture(scope="module")
def reference():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny.hf_model())


def test_the_torch_session_computes_what_transformers_does(full, reference):
    import torch

    tokens = np.random.default_rng(0).integers(8, 500, (3, 40))
    with torch.no_grad():
        expected = reference(torch.tensor(tokens)).logits.numpy()
    np.testing.assert_allclose(full.logits(tokens), expected, atol=1e-4)
    lengths = np.array([5, 20, 39])
    for row, length in enumerate(lengths):
        full.session.forward(tokens[row : row + 1, :length], np.array([0]), row)
    ragged = full.session.forward(tokens[np.arange(3), lengths][:, None], lengths)[:, 0]
    np.testing.assert_allclose(ragged, expected[np.arange(3), lengths], atol=1e-4)


def test_the_torch_session_leaves_torch_its_threads(full):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        full.session.forward(np.array([[11]]), np.array([0]))  # so few operations that one thread does them
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("make", [tiny.hf_model, tiny.int4_model])
def test_both_kinds_answer_what_was_learnt(make):
    model = LanguageModel.load(make(), slots=2, length=128)
    prompts = [
        encode_prompt(model.tokenizer, [{"role": "user", "content": t}]) for t in (tiny.GREETING, tiny.POEM_REQUEST)
    ]
    answers = model.answer(prompts * 2, [Sampling(temperature=0)] * 4)
    assert [answer.text for answer in answers] == [tiny.GREETED, tiny.POEM] * 2


def test_log_probabilities_are_of_the_targets():
    logits = np.log([[[0.25, 0.75], [0.5, 0.5]]])
    np.testing.assert_allclose(token_log_probs(logits, np.array([[1, 0]])), np.log([[0.75, 0.5]]))


def test_a_directory_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither"):
        LanguageModel.load(tmp_path)
