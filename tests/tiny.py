"""A model small enough to make inside a test session, yet trained: it has learnt a few conversations by heart."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

from tasks.chat import CHAT_TEMPLATE, SPECIAL_TOKENS, assistant_call, encode_chat
from tasks.poet_tools import POET_TOOLS

GREETING = "hello"
GREETED = "Hello! What shall I write for you today?"
POEM_REQUEST = "写一首五言绝句"
POEM = "白日依山尽，\n黄河入海流。\n欲穷千里目，\n更上一层楼。"
TOOL_REQUEST = "找一首有“月”字的诗"
TOOL_RESULT = '{"poems": [{"title": "静夜思", "author": "李白", "lines": ["床前明月光", "疑是地上霜"]}]}'
TOOL_ANSWER = "李白的《静夜思》：床前明月光。"


def folder() -> Path:
    """A folder that lives as long as the test session."""
    folder = Path(tempfile.mkdtemp(prefix="fullchain-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _user(text: str) -> dict:
    return {"role": "user", "content": text}


def _conversations() -> list[tuple[list[dict], list[dict] | None]]:
    called = [_user(TOOL_REQUEST), assistant_call("search_poems", query="月")]
    answered = [{"role": "tool", "content": TOOL_RESULT}, {"role": "assistant", "content": TOOL_ANSWER}]
    return [
        ([_user(GREETING), {"role": "assistant", "content": GREETED}], None),
        ([_user(POEM_REQUEST), {"role": "assistant", "content": POEM}], None),
        ([_user(GREETING), {"role": "assistant", "content": GREETED}], POET_TOOLS),
        (called + answered, POET_TOOLS),
    ]


@functools.cache
def hf_model() -> Path:
    """A Hugging Face directory (InternLM3, two layers) that answers the conversations above."""
    import torch
    from transformers import AutoModelForCausalLM, InternLM3Config

    home = folder()
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(home)
    torch.manual_seed(0)
    config = InternLM3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=768,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=3,
    )
    model = AutoModelForCausalLM.from_config(config)
    _learn(model, [encode_chat(tokenizer, *conversation) for conversation in _conversations()])
    model.generation_config.eos_token_id = 2
    model.save_pretrained(home)
    return home


@functools.cache
def int4_model() -> Path:
    """The same model as the quantize stage writes it."""
    return quantized(hf_model(), folder())


def quantized(source: Path, folder: Path, block: int = 32, finer: tuple[tuple[str, ...], ...] = ()) -> Path:
    """A Hugging Face directory as a graph in `folder`, rounded to nearest without calibration; `finer` in int8."""
    import torch

    from models.lm import load
    from models.quantization import linear_modules
    from tasks.quantize.draw import draw
    from tasks.quantize.fill import fill
    from tasks.quantize.rounding import Recipe, Rounding

    model = load(source)
    draw(source, folder / "drawn")
    modules = linear_modules(model)
    strengths = {name: torch.linspace(1, 20, module.in_features) for name, module in modules.items()}
    matrices = Rounding(model, dict.fromkeys(modules), block).matrices(Recipe("rtn", 4, finer))
    fill(folder / "drawn", folder / "model", matrices, {}, strengths)
    return folder / "model"


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [str(conversation) + str(POET_TOOLS) for conversation in _conversations()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts * 2, trainers.BpeTrainer(vocab_size=640, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        chat_template=CHAT_TEMPLATE,
    )


def _learn(model, examples: list[tuple[list[int], list[bool]]]) -> None:
    """Train until every answer is certain by a wide margin, so that int4 rounding changes none of them."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small products only wait for each other on more
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0)
    batch = []
    for ids, mask in examples:
        labels = torch.tensor([token if said else -100 for token, said in zip(ids, mask, strict=True)])
        batch.append((torch.tensor([ids]), labels[None]))
    for _ in range(300):
        losses = [model(input_ids=ids, labels=labels).loss for ids, labels in batch]
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        if max(loss.item() for loss in losses) < 8e-3:
            torch.set_num_threads(threads)
            return
    raise AssertionError(f"the tiny model has not learnt its conversations: losses {[loss.item() for loss in losses]}")


@functools.cache
def inputs() -> dict[str, Path]:
    """Input artifacts by role, made around the tiny model: corpus, tokens, model (as align leaves it), finetune."""
    from tasks.tokens import TokensConfig, tokens
    from tests import stages

    root = folder()
    corpus = stages.corpus(root / "corpus")
    tokenized, _ = stages.attempt(
        tokens, TokensConfig(seq_len=64), root / "tokens", corpus=corpus, tokenizer=hf_model()
    )
    (root / "align").mkdir()
    (root / "align" / "model").symlink_to(hf_model())
    (root / "finetune").mkdir()
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in _held_out())
    (root / "finetune" / "heldout.jsonl").write_text(lines)
    return {"corpus": corpus, "tokens": tokenized, "model": root / "align", "finetune": root / "finetune"}


def _held_out() -> list[dict]:
    """Prompts of all kinds that the tiny model has learnt to answer, and some that it has not."""
    verse = {"kind": "compose", "form": "5x4"}
    call = {"kind": "tool", "form": "", "tool": "search_poems", "arguments": {"query": "月"}}
    records = [
        {"messages": [_user(POEM_REQUEST)], "check": verse, "answer": POEM},
        {"messages": [_user("hello")], "check": {"kind": "who", "form": ""}, "answer": GREETED},
        {"messages": [_user(TOOL_REQUEST)], "check": call, "tools": POET_TOOLS},
        {"messages": [_user("续写")], "check": {"kind": "continue", "form": "5x3"}, "answer": "山高月小"},
    ]
    return [{"id": f"item-{number}"} | record for number, record in enumerate(records * 2)]
