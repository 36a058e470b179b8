"""Text and chats to tokens and back, from a model directory's own files, without transformers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

MARKUP = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")  # special, yet part of an answer


class ChatTokenizer:
    """A directory's tokenizer and chat template, with the two methods of transformers' tokenizers that chats need.

    Raises FileNotFoundError when `tokenizer.json` is missing.
    """

    def __init__(self, directory: Path):
        path = directory / "tokenizer.json"
        if not path.exists():
            raise FileNotFoundError(f"{path}: missing; expected a Hugging Face tokenizer beside the model")
        self._tokenizer = Tokenizer.from_file(str(path))
        self._config = _read_json(directory / "tokenizer_config.json")
        self._template = _template(directory, self._config)
        added = self._tokenizer.get_added_tokens_decoder()
        self._hidden = {number for number, token in added.items() if token.special and token.content not in MARKUP}
        self._longest = max(len(token.encode()) for token in self._tokenizer.get_vocab())
        self.stop_ids = frozenset(_stop_ids(directory))

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Token ids. A long text takes long, but other threads run meanwhile (only a batch lets them)."""
        return self._tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids

    def tokens_at_least(self, text: str) -> int:
        """How few tokens a text can be, at no cost: as if all were the longest of the vocabulary."""
        return len(text.encode()) // self._longest

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of `tokens`; control tokens are left out, tool markup is kept."""
        shown = tokens if self._hidden.isdisjoint(tokens) else [t for t in tokens if t not in self._hidden]
        return self._tokenizer.decode(shown, skip_special_tokens=False)

    def token(self, number: int) -> str:
        """One token as text, whatever it is."""
        return self._tokenizer.decode([number], skip_special_tokens=False)

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def apply_chat_template(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        tokenize: bool = False,
    ) -> str | list[int]:
        """The conversation as the model was trained to read it. Raises ValueError when the template refuses it."""
        specials = {key: _content(value) for key, value in self._config.items() if key.endswith("_token")}
        try:
            text = self._template.render(
                messages=list(messages), tools=tools, add_generation_prompt=add_generation_prompt, **specials
            )
        except TemplateError as error:
            raise ValueError(f"messages: the model's chat template refuses them: {error}") from error
        return self.encode(text) if tokenize else text


def _template(directory: Path, config: dict[str, Any]):
    path = directory / "chat_template.jinja"
    source = path.read_text(encoding="utf-8") if path.exists() else config.get("chat_template")
    # A base model has no template: its chats are the bare contents.
    source = source or "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(source)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _stop_ids(directory: Path) -> list[int]:
    """Tokens that end an answer: the generation config's, else the model config's."""
    genai = _read_json(directory / "genai_config.json").get("model", {})
    for config in (_read_json(directory / "generation_config.json"), genai, _read_json(directory / "config.json")):
        stop = config.get("eos_token_id")
        if stop is not None:
            return stop if isinstance(stop, list) else [stop]
    return []


def _content(token: str | dict[str, Any] | None) -> str:
    return token["content"] if isinstance(token, dict) else token or ""


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def sampling_defaults(directory: Path) -> dict[str, Any]:
    """The sampling that the model's makers advise, from its generation config; empty when they advise none."""
    config = _read_json(directory / "generation_config.json")
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    return {name: config[name] for name in names if config.get("do_sample") and config.get(name) is not None}
