"""The corpus's data card: Croissant 1.1 for machines (mlcommons.org/croissant), a page of Markdown for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.corpus.publish import SPLITS
from tasks.files import file_digest

COLUMNS = {
    "id": ("sc:Text", "Where the record stands: SOURCE/MEMBER#INDEX"),
    "text": ("sc:Text", "The cleaned text"),
    "source": ("sc:Text", "The source's name; sources.json has its licence and digest"),
    "metadata": ("sc:Text", "JSON of what else the source says of the document"),
}
CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "arrayShape": "cr:arrayShape", "citeAs": "cr:citeAs",
    "column": "cr:column", "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isArray": "cr:isArray", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath",
    "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/", "recordSet": "cr:recordSet", "references": "cr:references",
    "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace", "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
}  # fmt: skip


def write_cards(
    folder: Path,
    documents: int,
    waterfall: list[dict[str, Any]],
    sources: list[dict[str, Any]],
    rules: list[dict[str, Any]],
) -> None:
    """`croissant.json` and `card.md` beside the splits. Same files, same bytes: no date is in them.

    documents: of both splits; the waterfall counts records, of which a repository has many and is one document.
    """
    card = croissant(folder, documents, waterfall, sources)
    (folder / "croissant.json").write_text(json.dumps(card, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(readable(documents, waterfall, sources, rules), encoding="utf-8")


def croissant(
    folder: Path, documents: int, waterfall: list[dict[str, Any]], sources: list[dict[str, Any]]
) -> dict[str, Any]:
    """The Croissant description of the splits in `folder`: each file with its digest, the columns, the sources."""
    files = sorted(path for split in SPLITS for path in (folder / split).glob("*.parquet"))
    names = [path.relative_to(folder).as_posix() for path in files]
    last = waterfall[-1]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": "fullchain-corpus",
        "description": f"{documents:,} cleaned and deduplicated documents, {last['characters']:,} characters, "
        f"from {', '.join(s['name'] for s in sources)}.",
        "version": "1.0.0",
        "license": sorted({str(source["licence"]) for source in sources}),
        "url": "./",
        "inLanguage": [name for name, counts in last["languages"].items() if counts["documents"]],
        "isBasedOn": [str(source["uri"]) or f"sha256:{source['sha256']}" for source in sources],
        "rai:dataPreprocessingProtocol": [f"{s['step']}: {s['documents']:,} records left" for s in waterfall],
        "rai:personalSensitiveInformation": "Placeholders stand for e-mail and IP addresses, phone, identity and bank "
        "card numbers and keys, in texts and what is told of them, where the stage was told to mask them.",
        "distribution": [
            {
                "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name,
                "encodingFormat": "application/x-parquet", "sha256": file_digest(path),
                "contentSize": f"{path.stat().st_size} B",
            }
            for name, path in zip(names, files, strict=True)
        ]
        + [_file_set(split, [n for n in names if n.startswith(f"{split}/")]) for split in SPLITS],
        "recordSet": [_record_set(split) for split in SPLITS],
    }  # fmt: skip


def _record_set(split: str) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field", "@id": f"{split}/{name}", "name": f"{split}/{name}", "dataType": kind,
            "description": about,
            "source": {"fileSet": {"@id": f"{split}-files"}, "extract": {"column": name}},
        }
        for name, (kind, about) in COLUMNS.items()
    ]  # fmt: skip
    about = f"The documents of the {split} split, one a row"
    return {"@type": "cr:RecordSet", "@id": split, "name": split, "description": about, "field": fields}


def _file_set(split: str, files: list[str]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet", "@id": f"{split}-files", "name": f"{split}-files",
        "encodingFormat": "application/x-parquet", "includes": f"{split}/*.parquet",
        "containedIn": [{"@id": name} for name in files],
    }  # fmt: skip


def readable(
    documents: int, waterfall: list[dict[str, Any]], sources: list[dict[str, Any]], rules: list[dict[str, Any]]
) -> str:
    """The card as Markdown: what it is, where it comes from and under which terms, how it was made, what to mind."""
    first, last = waterfall[0], waterfall[-1]
    kept = f"{documents:,} documents, {last['characters']:,} characters, {last['tokens']:,} tokens"
    lines = ["# Data card", "", f"{kept}; {first['documents']:,} records were read.", "", "## Sources", ""]
    for source in sources:
        counts = last["sources"].get(source["name"], {"documents": 0, "characters": 0})
        place = source["uri"] or f"a local path, sha256 {source['sha256']}"
        lines.append(f"- **{source['name']}** ({place}): licence {source['licence']}; {counts['documents']:,} records,")
        lines.append(f"  {counts['characters']:,} characters kept. {source['rights']}".rstrip())
    lines += ["", "## Languages", ""]
    lines += [f"- {name}: {c['documents']:,} records" for name, c in last["languages"].items() if c["documents"]]
    lines += ["", "## How it was made", "", "| step | records left | characters left |", "| --- | ---: | ---: |"]
    lines += [f"| {s['step']} | {s['documents']:,} | {s['characters']:,} |" for s in waterfall]
    lines += ["", "Bounds that a text had to keep:", ""]
    lines += [f"- {_bound(rule)}" for rule in rules]
    lines += [
        "", "## Mind", "",
        "- Rights are the sources' own: the licences above are as each source states them.",
        "- Every decision is in `ledger/`: `fullchain data why ID` tells one, `fullchain data replay` tries others.",
        "- Word lists, classifiers and duplicate search err; `fullchain data audit` measures how often.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _bound(rule: dict[str, Any]) -> str:
    least = f"at least {rule['least']:g}" if rule["least"] is not None else ""
    most = f"at most {rule['most']:g}" if rule["most"] is not None else ""
    language = f" ({rule['language']})" if rule["language"] else ""
    return f"{rule['rule']}{language}: {rule['score']} {' and '.join(filter(None, (least, most)))}"
