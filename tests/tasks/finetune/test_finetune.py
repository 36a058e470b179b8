"""The finetune stage: it learns answers, keeps its held-out prompts apart, and takes the user's own conversations."""

import json
import warnings

import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer

from models.lm import load
from tasks.conversations import Conversation
from tasks.documents import read_texts, shards
from tasks.finetune import FinetuneConfig, finetune
from tasks.finetune.examples import put_aside
from tasks.pretrain import PretrainConfig, pretrain
from tasks.stage import StageError
from tasks.tokenizer import TokenizerConfig, tokenizer
from tasks.tokens import TokensConfig, tokens
from tests.stages import attempt, corpus, result

SMALL = {"poem_requests": 40, "dialogues": 6, "replay": 20, "held_out": 16, "seq_len": 768, "micro_batch": 4}
SMALL |= {"log_every": 1, "compile": "never", "checkpoint_every": 2}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetune")
    made = {"corpus": corpus(folder / "corpus")}
    made["tokenizer"], _ = attempt(tokenizer, TokenizerConfig(vocab_size=700, chat_weight=50), folder / "t", **made)
    packed, _ = attempt(tokens, TokensConfig(seq_len=32, share=1.0), folder / "p", **made)
    cfg = PretrainConfig(hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=48, tokens=0, compile="never")
    base, _ = attempt(pretrain, cfg, folder / "b", tokens=packed, tokenizer=made["tokenizer"])
    return {"base": base, "corpus": made["corpus"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory, inputs):
    return attempt(finetune, FinetuneConfig(**SMALL), tmp_path_factory.mktemp("whole"), **inputs)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_learns(made):
    path, metrics = made
    curve = lines(path / "curve.jsonl")
    assert len(curve) == metrics["steps"] and curve[-1]["loss"] < curve[0]["loss"]
    assert 0 < metrics["answer_tokens"] < metrics["tokens"]


def test_replayed_documents_keep_plain_text_predictable(tmp_path, inputs):
    """Learning answers alone must unlearn the corpus more than learning them beside its documents."""
    small = SMALL | {"seq_len": 512, "optimizer": {"name": "adamw", "lr": 1e-2}}
    losses = {}
    for replay in (0, 120):
        path, _ = attempt(finetune, FinetuneConfig(**small | {"replay": replay}), tmp_path / str(replay), **inputs)
        losses[replay] = document_loss(path / "model", inputs["corpus"])
    assert losses[120] < losses[0] - 0.1


def document_loss(model, corpus):
    """Mean loss in nats per token over the validation documents."""
    encoder, network = AutoTokenizer.from_pretrained(model), load(model).eval()
    texts = [text for shard in shards(corpus, "validation") for _, text in read_texts(shard)]
    rows = [torch.tensor([[encoder.bos_token_id, *encoder.encode(text)]]) for text in texts]
    with torch.no_grad():
        return sum(network(row, labels=row).loss.item() for row in rows) / len(rows)


def test_held_out_prompts_say_what_a_good_answer_is(made):
    items = lines(made[0] / "heldout.jsonl")
    assert {item["check"]["kind"] for item in items} == {"compose", "continue", "tool", "who"}
    for item in items:
        assert item["messages"][-1]["role"] == "user"
        assert bool(item["check"]["form"]) == (item["check"]["kind"] in {"compose", "continue"})
        assert bool(item.get("tools")) == (item["check"]["kind"] == "tool")


def test_the_same_settings_give_the_same_bytes(tmp_path, inputs, made):
    path, _ = attempt(finetune, FinetuneConfig(**SMALL), tmp_path, **inputs)
    assert result(path) == result(made[0])


def test_lora_is_merged_into_a_plain_model_of_the_same_shape(tmp_path, inputs):
    cfg = FinetuneConfig(**SMALL | {"lora": {"rank": 4}, "optimizer": {"name": "adamw", "lr": 1e-2}})
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # of names that the libraries have given up
        path, _ = attempt(finetune, cfg, tmp_path, **inputs)
    before, after = load(inputs["base"] / "model").state_dict(), load(path / "model").state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("proj" in name for name in changed)
    adapted = PeftModel.from_pretrained(load(inputs["base"] / "model"), path / "adapter").merge_and_unload()
    assert all(torch.allclose(tensor, after[name]) for name, tensor in adapted.state_dict().items())
    assert str(tmp_path) not in (path / "adapter" / "adapter_config.json").read_text()


def test_own_conversations_are_learned_and_bad_records_put_aside(tmp_path, inputs):
    talk = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好，请坐。"}]
    records = [{"messages": talk}] * 12 + [{"messages": talk[:1]}, {"question": "?"}]
    own = tmp_path / "own.jsonl"
    own.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\nnot json\n")
    cfg = FinetuneConfig(**SMALL | {"poem_requests": 0, "dialogues": 0, "sources": [str(own)], "held_out": 2})
    path, metrics = attempt(finetune, cfg, tmp_path / "run", **inputs)
    assert metrics["examples"] == 10 and metrics["held_out"] == 2
    reasons = " ".join(record["reason"] for record in lines(path / "quarantine.jsonl"))
    assert "last message must be the assistant's" in reasons
    assert "expected messages, conversations or instruction" in reasons
    assert "JSON" in reasons


def test_nothing_to_learn_from_says_so(tmp_path, inputs):
    with pytest.raises(StageError, match="no conversation to learn from"):
        attempt(finetune, FinetuneConfig(**SMALL | {"poem_requests": 0, "dialogues": 0}), tmp_path, **inputs)


def test_what_is_put_aside_is_not_trained_on():
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    everything = [Conversation(f"c{n}", talk) for n in range(50)]
    left, items = put_aside(everything, 5)
    assert len(items) == 5 and len(left) == 45
    assert not {item["id"] for item in items} & {item.id for item in left}
    assert items[0]["messages"] == talk[:1] and items[0]["answer"] == talk[1]
