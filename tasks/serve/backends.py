"""Serving by an engine for GPUs, in its makers' own image: the exported model, the same API, the same address."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import StageError
from tasks.serve.settings import Settings


@dataclass(frozen=True)
class Backend:
    """An engine: its image, where it listens inside, how it is told what to serve, and how it takes an API key."""

    image: str
    port: int
    serve: tuple[str, ...]
    name_option: str
    gpus_option: str
    key_variable: str | None

    def arguments(self, name: str, gpus: int) -> list[str]:
        return [*self.serve, self.name_option, name, self.gpus_option, str(gpus)]


BACKENDS = {
    "vllm": Backend(
        image="vllm/vllm-openai:v0.11.0", port=8000,
        serve=("--model", "/model", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        name_option="--served-model-name", gpus_option="--tensor-parallel-size", key_variable="VLLM_API_KEY",
    ),
    "lmdeploy": Backend(
        image="openmmlab/lmdeploy:latest", port=23333,
        serve=("lmdeploy", "serve", "api_server", "/model", "--server-name", "0.0.0.0", "--server-port", "23333"),  # noqa: S104 (inside of its container)
        name_option="--model-name", gpus_option="--tp", key_variable=None,
    ),
}  # fmt: skip


def run(backend: str, exported: Path, settings: Settings, gpus: int, image: str = "") -> int:
    """Serve a compressed-tensors export until it ends; the container's exit status.

    Raises:
        StageError: docker or GPUs are missing, or the engine cannot be served so.
    """
    engine = BACKENDS[backend]
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if settings.api_keys_file or (key and engine.key_variable is None):
        raise StageError(f"serve: {backend} cannot take these API keys without showing them; put a proxy before it")
    _check(backend, gpus)
    environment = os.environ | ({engine.key_variable: key} if key and engine.key_variable else {})
    return subprocess.run(command(engine, exported, settings, gpus, image), env=environment, check=False).returncode


def command(engine: Backend, exported: Path, settings: Settings, gpus: int, image: str = "") -> list[str]:
    """What starts the container. The model is mounted read-only; nothing is fetched from any hub; no key is shown."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    options = ["--rm", "--init", "--gpus", str(gpus), "--ipc", "host", "--env", "HF_HUB_OFFLINE=1"]
    options += ["--volume", f"{exported.resolve()}:/model:ro", "--publish", f"{host}:{settings.port}:{engine.port}"]
    options += ["--env", engine.key_variable] if settings.api_key and engine.key_variable else []
    return ["docker", "run", *options, image or engine.image, *engine.arguments(settings.name, gpus)]


def _check(backend: str, gpus: int) -> None:
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
