"""Does text survive the tokenizer?"""

from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tasks.documents import read_texts, shards

HARD_CASES = (
    "a b  c\n\n d",
    "\t\r\n",
    "1234567890",
    "étude naïve",
    "𠮷野家 𪚥",
    "\U0001f600 ok",
    "《》，。？！；：",
    " 空 格 ",
)


@dataclass(frozen=True)
class RoundTrip:
    """What came back changed, by document id or as the text itself, and how dense the tokens are."""

    documents: int
    failures: tuple[str, ...]
    bytes_per_token: float


def round_trip(tokenizer: Any, corpus: Path, documents: int) -> RoundTrip:
    """Encode and decode held-out documents (then training ones, to make up the number) and cases that are hard."""
    texts = chain.from_iterable(
        read_texts(shard) for split in ("validation", "train") for shard in shards(corpus, split)
    )
    cases = [*islice(texts, documents), *((repr(case), case) for case in HARD_CASES)]
    encoded = tokenizer([text for _, text in cases], add_special_tokens=False)["input_ids"]
    decoded = [tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) for ids in encoded]
    failures = tuple(name for (name, text), back in zip(cases, decoded, strict=True) if back != text)
    tokens, size = sum(map(len, encoded)), sum(len(text.encode()) for _, text in cases)
    return RoundTrip(len(cases), failures, size / max(1, tokens))
