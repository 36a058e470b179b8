"""What can be set about a server."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from tasks.errors import StageError

# A lone token shown to attention twice: at 128 to 256 tokens, tile by tile (engine/session.py), attention took as long
# as before with one slot, 1.3 times as long with 8 (2.5 ms of a step of SmolLM2-135M's shape), 1.4 with 16 (4 to 7 ms).
DRAFTED_SLOTS = 8


class Settings(BaseModel):
    """Limits and addresses of one server.

    How numbers round, and so what a request with a seed is answered, is decided by `products` and `drafts` (left to
    themselves: by `slots`) and by whether `context` is so long that attention goes tile by tile (engine/session.py), by
    nothing else: not by guesses, known prefixes, chunks or memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("fullchain", min_length=1, description="The model's id in the API")
    host: str = Field("127.0.0.1", description="Address to listen on; other machines only reach what they are shown")
    port: int = Field(8000, ge=0, le=65_535, description="Port; 0 picks a free one")
    ready_file: Path | None = Field(None, description="Written once requests are taken: url, port and process id")
    attached: bool = Field(False, description="End when standard input closes, so as never to outlive who started it")
    replicas: int = Field(
        1, ge=1, le=64, description="Copies of the server, in processes of Ray Serve's, behind one address"
    )
    slots: int = Field(8, ge=1, le=256, description="Answers generated at once; each costs key/value memory")
    context: int = Field(0, ge=0, description="Tokens per request, prompt and answer; 0 = the model's, at most 2048")
    products: Literal["auto", "int8", "blockwise", "mixed"] = Field(
        "auto",
        description="How weights are multiplied: int8 is faster for many requests, blockwise is as the model was made, "
        "mixed reads prompts in int8 and answers blockwise; auto: mixed up to 4 slots, else int8",
    )
    drafts: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether answers are computed so that guesses cannot change them; with many slots this takes time "
        "(bench/README.md); auto: up to 8 slots",
    )
    guess: int = Field(
        0, ge=0, le=32, description="Tokens guessed ahead from the text so far; pays for a few slots, needs drafts"
    )
    kv_mb: int = Field(0, ge=0, description="Memory for keys and values, in MB; 0 = what the slots can hold")
    prefix_mb: int = Field(256, ge=0, description="Memory for keys and values of earlier prompts, a part of the former")
    threads: int = Field(0, ge=0, description="Threads of the model's products; 0 = one per core, replicas share them")
    spin: bool = Field(False, description="Let waiting threads spin: quicker, but only on a machine with nothing else")
    chunk: int = Field(256, ge=1, description="Prompt tokens read between two tokens of the running answers")
    queue: int = Field(64, ge=1, description="Requests that may wait for a slot; more are refused with 429")
    timeout_s: float = Field(300, gt=0, description="Seconds one request may take, waiting included")
    client_s: float = Field(
        60, gt=0, description="Seconds a client may take to send the head of a request, to send its body, or to read on"
    )
    reload_s: float = Field(15, gt=0, description="Seconds between looks at where the model's name points")
    drain_s: int = Field(30, ge=0, description="Seconds that running answers get to end after SIGTERM")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Largest request body")
    adapters: Path | None = Field(
        None,
        description="A folder of LoRA adapters as peft writes them, a subfolder each, asked for as MODEL:SUBFOLDER; "
        "made for the weights that quantize read",
    )
    requests_per_minute: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Requests per minute of one API key, or address where there are no keys; 0 = any",
    )
    tokens_per_minute: int = Field(
        0, ge=0, le=1_000_000_000, description="Tokens per minute of one client, of prompts and answers; 0 = any"
    )
    api_keys_file: Path | None = Field(None, description="A file of API keys, one per line; # begins a comment")
    api_key: SecretStr | None = Field(None, description="When set, requests must carry it as a bearer token")

    @field_validator("api_key", mode="before")
    @classmethod
    def _an_empty_key_is_none(cls, key: object) -> object:
        return key or None

    @property
    def takes_drafts(self) -> bool:
        return self.drafts == "on" or (self.drafts == "auto" and self.slots <= DRAFTED_SLOTS)

    @model_validator(mode="after")
    def _guesses_are_drafts(self) -> "Settings":
        if self.guess and not self.takes_drafts:
            raise ValueError(f"guess: needs drafts, which {self.slots} slots only take when drafts is on")
        return self


def checked(fields: dict[str, Any]) -> Settings:
    """Settings of these fields. Raises StageError that names the first bad one."""
    try:
        return Settings(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else first["msg"].removeprefix("Value error, ").partition(":")[0]
        about = Settings.model_fields[name].description if name in Settings.model_fields else None
        hint = about or f"there are {', '.join(Settings.model_fields)}"
        raise StageError(f"serve: {name}: {first['msg']} ({hint})") from error
