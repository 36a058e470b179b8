"""Conversations to learn from: made from the corpus's poems, and read from sources."""

import random
from collections.abc import Callable, Iterator
from heapq import nsmallest
from pathlib import Path
from typing import Any

from tasks.conversations import Conversation
from tasks.documents import read_texts, shards
from tasks.finetune.stage import FinetuneConfig
from tasks.poems import Poem, regular_poems, training_poems, unit_hash
from tasks.poet_dialogues import Dialogues, assistant, small_talk, user
from tasks.poet_requests import Request, compose, continuation, who
from tasks.poet_tools import POET_TOOLS

KINDS: dict[str, Callable[[Poem, random.Random], Request]] = {
    "compose": compose,
    "continue": continuation,
    "who": who,
}
HELD_OUT = ("compose", "continue", "tool", "compose", "continue", "compose", "tool", "who")  # over and over
SHARES = {"compose": 0.68, "continue": 0.28, "who": 0.04}
SMALL_TALK_SHARE = 0.04  # of the poem requests, in addition
EXCHANGES = 2  # per dialogue: the tool list in front is long, so it is made use of more than once


def held_out_requests(corpus: Path, count: int, seed: int) -> tuple[list[Poem], list[dict[str, Any]]]:
    """Validation poems, and at most `count` requests made from them for evaluation, one each."""
    poems = sorted(regular_poems(corpus, "validation"), key=lambda poem: unit_hash(poem.id, "held out"))[:count]
    dialogues = Dialogues(poems)
    items = []
    for number, poem in enumerate(poems):
        kind, draw = HELD_OUT[number % len(HELD_OUT)], random.Random(f"{seed}{poem.id}")
        items.append({"id": f"{kind}-{poem.id}", **_held_out(kind, poem, dialogues, draw)})
    return poems, items


def _held_out(kind: str, poem: Poem, dialogues: Dialogues, draw: random.Random) -> dict[str, Any]:
    if kind != "tool":
        request = KINDS[kind](poem, draw)
        return {"messages": [user(request.prompt)], "check": request.check, "answer": request.answer}
    question, answer, *_ = draw.choice((dialogues.search, dialogues.check, dialogues.rhyme))(poem, draw)
    call = answer["tool_calls"][0]["function"]
    check = {"kind": "tool", "form": "", "tool": call["name"], "arguments": call["arguments"]}
    return {"messages": [question], "tools": POET_TOOLS, "check": check}


def poem_conversations(cfg: FinetuneConfig, corpus: Path, held_out: list[Poem]) -> Iterator[Conversation]:
    """Requests, small talk and tool-using dialogues, each around its own poem."""
    poems = training_poems(corpus, held_out, cfg.poem_requests + cfg.dialogues * EXCHANGES, "finetune")
    draw = random.Random(cfg.seed)
    for poem in poems[: cfg.poem_requests]:
        kind = draw.choices(list(SHARES), weights=list(SHARES.values()))[0]
        request = KINDS[kind](poem, draw)
        yield Conversation(f"{kind}-{poem.id}", [user(request.prompt), assistant(request.answer)])
    for number in range(round(cfg.poem_requests * SMALL_TALK_SHARE)):
        yield Conversation(f"small-talk-{number}", small_talk(draw))
    rest = poems[cfg.poem_requests :]
    dialogues = Dialogues(poems)
    for number in range(0, len(rest), EXCHANGES):
        around = rest[number : number + draw.randint(1, EXCHANGES)]
        messages = [message for poem in around for message in dialogues.exchange(poem, draw)]
        yield Conversation(f"dialogue-{number}", messages, POET_TOOLS)


def replayed_texts(corpus: Path, count: int) -> list[str]:
    """So many training documents, by their ids' hash: against forgetting what was pretrained (Ibrahim et al. 2024)."""
    texts = ((unit_hash(name, "replay"), text) for shard in shards(corpus, "train") for name, text in read_texts(shard))
    return [text for _, text in nsmallest(count, texts)]


def put_aside(conversations: list[Conversation], count: int) -> tuple[list[Conversation], list[dict[str, Any]]]:
    """(what is left to train on, evaluation items): so many conversations, chosen by their ids, at most a fifth of all.

    An item is a conversation up to its first answer; a call there becomes the check, a text the reference answer.
    """
    count = min(count, len(conversations) // 5)
    aside = {item.id for item in sorted(conversations, key=lambda item: unit_hash(item.id, "held out"))[:count]}
    items = [_first_answer(item) for item in conversations if item.id in aside]
    return [item for item in conversations if item.id not in aside], items


def _first_answer(item: Conversation) -> dict[str, Any]:
    place = next(n for n, message in enumerate(item.messages) if message["role"] == "assistant")
    answer = item.messages[place]
    check: dict[str, Any] = {"kind": "answer", "form": ""}
    if answer.get("tool_calls"):
        call = answer["tool_calls"][0]["function"]
        check |= {"kind": "tool", "tool": call["name"], "arguments": call["arguments"]}
    held = {"id": item.id, "messages": item.messages[:place], "check": check, "answer": answer}
    return held | ({"tools": item.tools} if item.tools else {})
