"""Settings of the libraries that must stand in the environment before they are imported."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tasks.lock import alive
from tasks.store import HOME_VARIABLE

TEAM_FILE = "up.json"
MLFLOW_VARIABLE = "FULLCHAIN_MLFLOW_URL"  # MLflow's address in a browser, where that is not the one that runs log to
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NO_TELEMETRY = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def prepare(home: Path) -> None:
    """Set what the user has not set: no telemetry, all state below `home`, the servers of a running `up`.

    What is on this machine (Prefect, MLflow, the model's server) is reached past any proxy of the environment.
    """
    _reach_loopback_directly()
    servers = running_servers(home)
    settings = NO_TELEMETRY | {
        HOME_VARIABLE: str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "prefect" / "storage"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 9-18 s on two quiet cores
        "PREFECT_LOGGING_EXTRA_LOGGERS": "fullchain",
        "PREFECT_CLI_PROMPT": "false",
        "MPLCONFIGDIR": str(home / "cache" / "matplotlib"),
        "HF_HOME": str(home / "cache" / "huggingface"),
        "TOKENIZERS_PARALLELISM": "true",
        "GOMP_SPINCOUNT": "1000",  # threads that wait soon sleep: spinning ones starve a busy machine (10x, measured)
        "TQDM_DISABLE": "1",  # stages show progress of their own
        "MLFLOW_LOGGING_LEVEL": "WARNING",
    }
    if len(str(home).split()) == 1:  # torch.compile breaks paths at blanks
        settings["TORCHINDUCTOR_CACHE_DIR"] = str(home / "cache" / "inductor")
    if "prefect" in servers:
        settings["PREFECT_API_URL"] = f"{servers['prefect']}/api"
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _reach_loopback_directly() -> None:
    spared = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")).split(",")
    if "*" not in spared:
        spared += [host for host in LOOPBACK if host not in spared]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, spared))


def running_servers(home: Path) -> dict[str, Any]:
    """The addresses that a running `fullchain up` wrote down; empty when none runs."""
    file = home / TEAM_FILE
    if not file.is_file():
        return {}
    servers: dict[str, Any] = json.loads(file.read_text())
    return servers if alive(servers["pid"], servers["start"]) else {}
