"""Sources of data and models: pinned by sha256 in the catalogue, fetched once, read in place.

with open_source("llamafactory/alpaca_en") as source:
    for record in source.records():
        ...
"""

from tasks.sources.card import CATALOGUE, Card, Part, catalogue, load_card
from tasks.sources.records import Bad, Record
from tasks.sources.ref import SourceRef
from tasks.sources.source import Source, open_source

__all__ = [
    "CATALOGUE",
    "Bad",
    "Card",
    "Part",
    "Record",
    "Source",
    "SourceRef",
    "catalogue",
    "load_card",
    "open_source",
]
