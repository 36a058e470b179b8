"""A byte-level BPE in GGUF. llama.cpp knows ways to split text by name only (src/llama-vocab.cpp)."""

import json
from pathlib import Path
from typing import Any

import gguf
from gguf import GGUFWriter

from tasks.errors import StageError

CONTROL, USER_DEFINED, NORMAL = gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED, gguf.TokenType.NORMAL
# The pattern of Qwen2, Qwen3 and Llama 3, which differ in how many digits stay together.
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {SPLIT % r"\p{N}": "qwen2", SPLIT % r"\p{N}{1,3}": "llama-bpe"}


def write_tokenizer(writer: GGUFWriter, package: Path, config: dict[str, Any]) -> list[str]:
    """Tokens, merges, special ids and chat template; notes on what could not be told.

    Raises:
        StageError: the tokenizer is no byte-level BPE, or nothing says which token ends an answer.
    """
    state = json.loads((package / "tokenizer.json").read_text(encoding="utf-8"))
    if state["model"]["type"] != "BPE":
        raise StageError(f"export: a {state['model']['type']} tokenizer; GGUF is written for byte-level BPE only")
    writer.add_tokenizer_model("gpt2")
    _tokens(writer, state, config["vocab_size"])
    _special(writer, state, _ids(package, config))
    if (package / "chat_template.jinja").exists():
        writer.add_chat_template((package / "chat_template.jinja").read_text(encoding="utf-8"))
    name, known = pre_tokenizer(state["pre_tokenizer"])
    writer.add_tokenizer_pre(name)
    return (
        [] if known else [f"llama.cpp has no name for this pre-tokenizer; written as {name}, words may split otherwise"]
    )


def _tokens(writer: GGUFWriter, state: dict[str, Any], size: int) -> None:
    tokens = {id_: token for token, id_ in state["model"]["vocab"].items()}
    kinds = dict.fromkeys(tokens, NORMAL)
    for added in state["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    writer.add_token_list([tokens.get(i, f"[UNUSED{i}]") for i in range(size)])
    writer.add_token_types([kinds.get(i, gguf.TokenType.UNUSED) for i in range(size)])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in state["model"]["merges"]])


def _ids(package: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Ids of special tokens, the generation config's before the model's own; None where there are none."""
    path = package / "generation_config.json"
    generation = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: config.get(name) if generation.get(name) is None else generation[name] for name in names}


def _special(writer: GGUFWriter, state: dict[str, Any], ids: dict[str, Any]) -> None:
    stops = ids["eos_token_id"] if isinstance(ids["eos_token_id"], list) else [ids["eos_token_id"]]
    if not stops or stops[0] is None:
        raise StageError(
            "export: no eos_token_id in generation_config.json or config.json; expected what ends an answer"
        )
    writer.add_eos_token_id(stops[0])
    if len(stops) > 1:
        writer.add_eot_token_id(stops[1])
    if ids["bos_token_id"] is not None:
        writer.add_bos_token_id(ids["bos_token_id"])
    if ids["pad_token_id"] is not None:
        writer.add_pad_token_id(ids["pad_token_id"])
    writer.add_add_bos_token(ids["bos_token_id"] in _prefixes(state.get("post_processor") or {}))


def _prefixes(processor: dict[str, Any]) -> set[int]:
    """Ids that the tokenizer puts before every text."""
    found: set[int] = set()
    for step in processor.get("processors", [processor]):
        if step.get("type") == "TemplateProcessing" and "SpecialToken" in step["single"][0]:
            found |= set(step["special_tokens"][step["single"][0]["SpecialToken"]["id"]]["ids"])
    return found


def pre_tokenizer(state: dict[str, Any]) -> tuple[str, bool]:
    """Its name in llama.cpp, and whether that is exact."""
    steps = state.get("pretokenizers", [state])
    kinds = [step["type"] for step in steps]
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm", True
    if kinds == ["Split", "ByteLevel"] and (name := PATTERNS.get(steps[0]["pattern"].get("Regex", ""))):
        return name, True
    return "gpt-2", kinds == ["ByteLevel"] and steps[0].get("use_regex", True)
