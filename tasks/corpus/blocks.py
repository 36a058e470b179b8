"""The datatrove blocks of the corpus: read a shard's records, draft them, judge them, write what was decided."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from tasks.corpus.code.repositories import repository_of
from tasks.corpus.documents import Malformed, draft
from tasks.corpus.rules import Rule
from tasks.corpus.spool import Piece, items_of, pieces_of
from tasks.corpus.table import write_judged
from tasks.sources import Bad, Part, Record


class SpoolReader(PipelineStep):
    """The records of one shard of the spool, each a document without text; `bad` says why one cannot be read."""

    type, name = "READER", "spool"

    def __init__(self, folder: Path, parts: dict[tuple[str, str], Part]) -> None:
        super().__init__()
        self.folder, self.parts = folder, parts

    def run(self, _data: DocumentsPipeline, rank: int, _world_size: int) -> DocumentsPipeline:
        for piece in pieces_of(self.folder, rank):
            part = self.parts[piece.source, piece.part]
            for item in items_of(piece, self.folder, part):
                self.stat_update("bad" if isinstance(item, Bad) else "read")
                if isinstance(item, Record) and part.is_code:
                    _name_repository(item.data, part.repository_folders)
                yield _document(piece, item, part.is_code)


class Drafter(PipelineStep):
    """Normalises each record into its draft; a record that is not one becomes bad."""

    type, name = "FORMAT", "draft"

    def __init__(self, simplify: bool = True, **how: Any) -> None:
        super().__init__()
        self.how = {"simplify": simplify, **how}

    def run(self, data: DocumentsPipeline, _rank: int, _world_size: int) -> DocumentsPipeline:
        for document in data:
            if not document.metadata["bad"]:
                try:
                    document.metadata["draft"] = draft(
                        document.metadata.pop("fields"), code=document.metadata["code"], **self.how
                    )
                except Malformed as error:
                    document.metadata["bad"] = str(error)
            yield document


class Judge(PipelineStep):
    """Asks every rule about every document, so that the ledger knows all verdicts, not only the first that failed."""

    type, name = "FILTER", "judge"

    def __init__(self, rules: list[Rule]) -> None:
        super().__init__()
        self.rules = rules

    def run(self, data: DocumentsPipeline, _rank: int, _world_size: int) -> DocumentsPipeline:
        for document in data:
            verdicts, reason, detail = {}, "", ""
            for rule in self.rules if not document.metadata["bad"] else ():
                if not rule.applies(document.metadata["draft"]):
                    continue
                verdict = rule.filter(document)
                verdicts[rule.name] = verdict is True
                if verdict is not True and not reason:
                    reason, detail = rule.name, verdict[1]
            document.metadata |= {"verdicts": verdicts, "reason": reason, "detail": detail}
            self.stat_update(f"dropped_{reason}" if reason else "passed")
            yield document


class JudgedWriter(PipelineStep):
    """Writes a shard's documents and decisions as one Parquet file with MinHash signatures beside it, whole or not."""

    type, name = "WRITER", "judged"

    def __init__(self, folder: Path, rules: tuple[str, ...]) -> None:
        super().__init__()
        self.folder, self.rules = folder, rules

    def run(self, data: DocumentsPipeline, rank: int, _world_size: int) -> DocumentsPipeline:
        write_judged(self.folder, rank, (_row(document) for document in data), self.rules)
        yield from ()


def _name_repository(file: dict[str, Any], folders: int) -> None:
    """Of a file of code that does not tell its repository, its path does."""
    if file.get("repository") is None and isinstance(file.get("path"), str):
        file["repository"] = repository_of(file["path"], folders)


def _document(piece: Piece, item: Record | Bad, code: bool) -> Document:
    bad = isinstance(item, Bad)
    place = f"{piece.source}/{item.member}#{item.offset}"
    facts = {
        "source": piece.source,
        "part": piece.part,
        "member": item.member,
        "offset": item.offset,
        "byte": item.byte,
        "code": code,
    }
    found = {"bad": item.reason} if bad else {"bad": "", "fields": item.data}
    return Document(text="", id=f"{place}!" if bad else place, metadata=facts | found)


def _row(document: Document) -> dict[str, object]:
    facts = document.metadata
    row = {name: facts[name] for name in ("source", "part", "member", "offset", "byte")} | {"id": document.id}
    if facts["bad"]:
        nothing = dict.fromkeys(("text", "metadata", "key", "hash", "shingling", "detected_language"), "")
        return row | nothing | {"reason": "quarantined", "detail": facts["bad"]}
    one = facts["draft"]
    decided = {"reason": facts["reason"], "detail": facts["detail"], **facts["verdicts"]}
    kept = {"text": one.text, "metadata": one.metadata, "key": one.key, "hash": content_hash(one.key)}
    kept |= {"shingling": one.shingling, "detected_language": one.language}
    return row | kept | decided | one.scores


def content_hash(key: str) -> str:
    """What equal texts share; empty for what holds no text."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest() if key else ""
