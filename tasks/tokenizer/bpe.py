"""Byte-level BPE in which every Chinese character stands alone, as a Hugging Face tokenizer."""

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from tasks.chat import (
    CHAT_TEMPLATE,
    DOCUMENT_END,
    PAD,
    SPECIAL_TOKENS,
    TOOL_CALL,
    TOOL_RESPONSE,
    TURN_END,
    TURN_START,
)

# A classical character is a word: merging across characters bought 12% fewer tokens, but cost nine times the training
# time, and hid from the model what verse is made of, how many characters a line has and which one it rhymes on.
HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
PIECES = rf"[{HAN}]|\n|[0-9]| ?[A-Za-z_]+|[^{HAN}A-Za-z0-9_\n]+"


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer whose merges come from the texts; the same texts and size give the same tokenizer."""
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = Sequence(
        [Split(Regex(PIECES), behavior="isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return _visible(bpe, (*TOOL_CALL, *TOOL_RESPONSE))


def _visible(bpe: Tokenizer, tokens: tuple[str, ...]) -> Tokenizer:
    """Keep these atomic but in sight when special tokens are skipped in decoding: tool calls are read from the text."""
    state = json.loads(bpe.to_str())
    for token in state["added_tokens"]:
        token["special"] = token["content"] not in tokens
    return Tokenizer.from_str(json.dumps(state))


def hugging_face(bpe: Tokenizer) -> Any:
    """The tokenizer in Hugging Face form, with the chat template and the meaning of its special tokens."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=DOCUMENT_END,
        eos_token=TURN_END,
        pad_token=PAD,
        unk_token=None,
        additional_special_tokens=[AddedToken(TURN_START, special=True, normalized=False)],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
