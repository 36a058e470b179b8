"""The files beside the weights as every engine reads them, whichever transformers it comes with.

transformers 5 keeps the rotary base in `rope_parameters` and names its tokenizer class TokenizersBackend; engines built
on transformers 4 look for `rope_theta`, `rope_scaling` and `torch_dtype` at the top, and know neither name.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from tasks.quantize.draw import as_llama

COPIED = ("tokenizer.json", "chat_template.jinja", "generation_config.json")
TOKENIZER = "tokenizer_config.json"
NEW = ("backend", "is_local", "local_files_only")  # what transformers 5 notes of itself


def rotations(config: dict[str, Any]) -> tuple[float, str, dict[str, Any]]:
    """Their base, how angles are scaled, and what else is said of that, whichever transformers wrote the config."""
    said = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope = {name: value for name, value in said.items() if value is not None}
    base = rope.pop("rope_theta", config.get("rope_theta") or 10_000.0)
    new, old = rope.pop("rope_type", None), rope.pop("type", None)
    return float(base), new or old or "default", rope


def portable_config(config: dict[str, Any]) -> dict[str, Any]:
    """A model's config for transformers 4 and 5, its weights in fp16; InternLM3 as Llama, the same network."""
    theta, kind, said = rotations(config)
    rope = {"rope_type": kind} | said
    return as_llama(config) | {
        "rope_theta": theta, "rope_scaling": rope if kind != "default" else None,
        "rope_parameters": rope | {"rope_theta": theta},
        "dtype": "float16", "torch_dtype": "float16",
    }  # fmt: skip


def copy_tokenizer(package: Path, target: Path) -> None:
    """The tokenizer, its template and the generation config, as far as `package` has them."""
    for name in COPIED:
        if (package / name).exists():
            shutil.copyfile(package / name, target / name)
    if (package / TOKENIZER).exists():
        facts = _portable_tokenizer(json.loads((package / TOKENIZER).read_text(encoding="utf-8")))
        (target / TOKENIZER).write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")


def _portable_tokenizer(facts: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in facts.items() if name not in NEW}
    if kept.get("tokenizer_class") == "TokenizersBackend":
        kept["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(kept.get("extra_special_tokens"), list):
        kept["additional_special_tokens"] = kept.pop("extra_special_tokens")
    return kept
