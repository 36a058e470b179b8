"""The stage and its configuration."""

import json

from pydantic import Field

from tasks.files import file_digest
from tasks.stage import Artifact, Metrics, Output, Runtime, StageConfig, stage


class TokensConfig(StageConfig):
    """How documents become token streams."""

    seq_len: int = Field(
        256, ge=8, le=131_072, description="Tokens per training sequence, recorded for the stages after"
    )
    share: float = Field(
        0.25, gt=0, le=1, description="Share of the training documents to encode, chosen by their ids' hash"
    )
    batch_documents: Runtime[int] = Field(4096, ge=1, description="Documents encoded at a time; they share all cores")


@stage(libraries=("tokenizers", "transformers", "pyarrow"))
def tokens(cfg: TokensConfig, out: Output, *, corpus: Artifact, tokenizer: Artifact) -> Metrics:
    """Encode every document once and join them with <|endoftext|> into memory-mapped streams."""
    from transformers import AutoTokenizer

    from tasks.documents import shards
    from tasks.tokens.encode import encode_shard, token_type
    from tasks.tokens.join import join

    encoder = AutoTokenizer.from_pretrained(tokenizer.path, trust_remote_code=False, local_files_only=True)
    kind = token_type(len(encoder))
    made_by = file_digest(tokenizer.path / "tokenizer.json")
    meta = {"dtype": kind, "vocab_size": len(encoder), "tokenizer": made_by, "seq_len": cfg.seq_len, "splits": {}}
    for split in ("train", "validation"):
        parts = []
        with out.progress(f"encoding {split}", len(shards(corpus.path, split))) as bar:
            for shard in shards(corpus.path, split):
                parts.append(out.state / f"{split}-{shard.stem}")
                share = cfg.share if split == "train" else 1.0
                encode_shard(encoder, shard, parts[-1], kind, share, cfg.batch_documents)
                bar.advance()
        meta["splits"][split] = join(parts, out.path, split, kind, encoder.bos_token_id)
    (out.path / "meta.json").write_text(json.dumps(meta, indent=2), encoding="utf-8")
    return {f"{split}_{name}": value for split, counts in meta["splits"].items() for name, value in counts.items()}
