"""From a training token to the record it came from."""

from __future__ import annotations

from typing import Any

from flows.refs import ancestor, resolve, sources_of
from tasks.artifact import Artifact
from tasks.documents import read_documents, shards
from tasks.errors import StageError
from tasks.store import Store
from tasks.tokens import trace


def trace_token(ref: str, token: int, store: Store) -> dict[str, Any]:
    """The document of a training token, its place in it, and the source. REF is anything made from these tokens.

    Raises:
        StageError: no such token, or what the artifact was made from is gone.
    """
    artifact = resolve(ref, store)
    tokens, corpus = (ancestor(artifact, stage, store) for stage in ("tokens", "corpus"))
    origin = trace(tokens.path, "train", token)
    document = _document(corpus, origin.document)
    return {
        "token": token, "tokens": tokens.key, "document": origin.document, "offset_in_document": origin.offset,
        "text": document["text"], "metadata": document["metadata"], "ledger": _ledger(corpus, origin.document),
        "source": _source(corpus, document["source"]),
    }  # fmt: skip


def _document(corpus: Artifact, wanted: str) -> dict[str, Any]:
    for shard in shards(corpus.path, "train"):
        for document in read_documents(shard):
            if document.id == wanted:
                return vars(document)
    raise StageError(f"corpus {corpus.key} has no document {wanted!r}; `fullchain doctor` looks for damage")


def _ledger(corpus: Artifact, wanted: str) -> dict[str, Any]:
    """The ledger's row of a document: where in its source it stood."""
    import pyarrow.parquet as pq

    rows = pq.read_table(corpus.path / "ledger", filters=[("id", "=", wanted)]).to_pylist()
    return {name: rows[0][name] for name in ("source", "member", "offset") if name in rows[0]} if rows else {}


def _source(corpus: Artifact, name: str) -> dict[str, Any]:
    return next((s for s in sources_of(corpus) if s["name"] == name), {"name": name})
