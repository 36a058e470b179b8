"""What a tokens artifact says of its streams in `meta.json`, for every stage that reads them."""

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import StageError

AGAIN = "run the tokens stage again (--force tokens)"
"""What mends a tokens artifact that is damaged."""


class Counts(BaseModel):
    """Of one split."""

    tokens: int = Field(ge=0)
    documents: int = Field(ge=0)
    bytes: int = Field(ge=0)


class Splits(BaseModel):
    """Of all."""

    train: Counts
    validation: Counts


class TokensMeta(BaseModel):
    """`dtype` is numpy's name of a token's type; `tokenizer` the digest of the tokenizer.json that encoded them."""

    model_config = ConfigDict(frozen=True)

    dtype: str
    vocab_size: int = Field(ge=1)
    tokenizer: str = ""
    seq_len: int = Field(ge=1)
    splits: Splits


def tokens_meta(artifact: Path) -> TokensMeta:
    """The description in a tokens artifact.

    Raises:
        StageError: it is not there, cut short, or says nothing of what is needed; with what mends it.
    """
    try:
        meta = TokensMeta.model_validate_json((artifact / "meta.json").read_bytes())
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise StageError(
            f"tokens: meta.json: {where}: {first['msg']}; expected what the tokens stage writes; {AGAIN}"
        ) from problem
    except OSError as problem:
        raise StageError(f"tokens: meta.json cannot be read: {problem}; {AGAIN}") from problem
    if not re.fullmatch(r"[<>|=]?[iu][1248]", meta.dtype):
        raise StageError(f"tokens: dtype in meta.json is {meta.dtype}; expected integers, such as <u2; {AGAIN}")
    return meta
