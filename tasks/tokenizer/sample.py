"""The text that merges are learned from."""

import json
from collections.abc import Callable
from pathlib import Path

from tasks.chat import TOOLS_CLOSING, TOOLS_PREAMBLE, assistant_call
from tasks.documents import read_texts, shards
from tasks.poet_tools import POET_TOOLS


def sample(corpus: Path, characters: int, advance: Callable[[int], None]) -> list[str]:
    """Every n-th document of the training split, n such that they hold about so many characters in all."""
    texts: list[str] = []
    for shard in shards(corpus, "train"):
        texts.extend(text for _, text in read_texts(shard))
        advance(1)
    stride = max(1, round(sum(map(len, texts)) / characters))
    return texts[::stride]


def chat_syntax(weight: int) -> list[str]:
    """What the chat template and the agent's tools add around a conversation, so that it costs few tokens."""
    tools = [json.dumps(tool["function"], ensure_ascii=False) for tool in POET_TOOLS]
    calls = [json.dumps(assistant_call("search_poems", query="", author="", limit=3)["tool_calls"][0]["function"])]
    answers = ['{"poems": [{"title": "", "author": "", "lines": ["", ""]}]}', '{"correct": true, "problem": ""}']
    answers += ['{"correct": false, "problem": ""}', '{"characters": ["", ""]}']
    roles = ["system\n", "user\n", "assistant\n", "tool\n"]
    return [TOOLS_PREAMBLE, *tools, TOOLS_CLOSING, *calls, *answers, *roles] * weight
