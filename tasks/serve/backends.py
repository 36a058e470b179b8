"""Serving by an engine for GPUs, in its makers' own image: the exported model, the same API, the same address."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import StageError
from tasks.serve.settings import Settings

CARRIED = {"name", "host", "port", "api_key", "slots", "context"}  # settings that other engines have, too


@dataclass(frozen=True)
class Backend:
    """An engine: its image, the export it loads, where it listens inside, what it is told, how it takes an API key.

    `options` are those of the model's name, the GPUs that share it, answers at once and tokens per request.
    """

    image: str
    export: str
    port: int
    serve: tuple[str, ...]
    options: tuple[str, str, str, str]
    key_variable: str | None

    def arguments(self, settings: Settings, gpus: int) -> list[str]:
        values = (settings.name, gpus, _told(settings, "slots"), _told(settings, "context"))
        pairs = zip(self.options, values, strict=True)
        return [*self.serve, *(text for option, value in pairs if value for text in (option, str(value)))]


BACKENDS = {
    "vllm": Backend(
        image="vllm/vllm-openai:v0.11.0", export="compressed-tensors", port=8000,
        serve=("--model", "/model", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        options=("--served-model-name", "--tensor-parallel-size", "--max-num-seqs", "--max-model-len"),
        key_variable="VLLM_API_KEY",
    ),
    "lmdeploy": Backend(
        image="openmmlab/lmdeploy:v0.16.0-cu12.8", export="lmdeploy", port=23333,
        serve=(
            "lmdeploy", "serve", "api_server", "/model", "--server-name", "0.0.0.0", "--server-port", "23333",  # noqa: S104 (inside of its container)
            "--tool-call-parser", "qwen3",
        ),
        options=("--model-name", "--tp", "--max-batch-size", "--session-len"), key_variable=None,
    ),
}  # fmt: skip


def run(backend: str, exported: Path, settings: Settings, gpus: int) -> int:
    """Serve an export until it ends, and the container whenever we do; the container's exit status."""
    engine = BACKENDS[backend]
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    environment = os.environ | ({engine.key_variable: key} if key and engine.key_variable else {})
    with subprocess.Popen(command(engine, exported, settings, gpus), env=environment) as process:
        try:
            return process.wait()
        finally:
            process.terminate()  # docker passes it on, and ends after the container


def check(backend: str, settings: Settings, gpus: int) -> None:
    """Raises StageError when docker or GPUs are missing, or the engine would leave a setting out of account."""
    _check_settings(backend, settings)
    _check_machine(backend, gpus)


def _check_settings(backend: str, settings: Settings) -> None:
    if settings.api_keys_file or (settings.api_key and BACKENDS[backend].key_variable is None):
        raise StageError(f"serve: {backend} cannot take these API keys without showing them; put a proxy before it")
    if left := sorted(name for name in settings.model_fields_set - CARRIED if _told(settings, name) is not None):
        raise StageError(
            f"serve: {', '.join(left)}: {backend} is not told this; it is given {', '.join(sorted(CARRIED))} only: "
            "leave the rest out, or serve without --backend"
        )


def _told(settings: Settings, name: str) -> Any:
    """The setting's value when it was set."""
    return getattr(settings, name) if name in settings.model_fields_set else None


def command(engine: Backend, exported: Path, settings: Settings, gpus: int) -> list[str]:
    """What starts the container. The model is mounted read-only; nothing is fetched from any hub; no key is shown."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    options = ["--rm", "--init", "--gpus", str(gpus), "--ipc", "host", "--env", "HF_HUB_OFFLINE=1"]
    options += ["--volume", f"{exported.resolve()}:/model:ro", "--publish", f"{host}:{settings.port}:{engine.port}"]
    options += ["--env", engine.key_variable] if settings.api_key and engine.key_variable else []
    return ["docker", "run", *options, engine.image, *engine.arguments(settings, gpus)]


def _check_machine(backend: str, gpus: int) -> None:
    """All that is missing, at once."""
    missing = []
    if shutil.which("docker") is None:
        missing.append("docker is not installed")
    else:
        asked = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
        if asked.returncode:
            missing.append(f"docker does not run ({(asked.stderr.strip().splitlines() or ['no reason given'])[-1]})")
    if (there := _gpus()) < gpus:
        missing.append(f"{gpus} NVIDIA GPU{'s' * (gpus != 1)} asked for, {there} found by nvidia-smi")
    if missing:
        raise StageError(f"serve: {backend} cannot run here: {'; '.join(missing)}; without --backend it is served here")


def _gpus() -> int:
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
