"""llama.cpp's server at its best: the faster of two programs, in the format and with the slots that suit a load."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.serving import ROOT, Load, Texts, measure, running

FORMATS = ("Q4_0", "Q4_1", "Q4_K_M")
LOOKS = {  # short loads by which a setting is judged, and the slots that are tried
    "many": (Load("", 16, 16, 128, 32), (16, 8, 32)),
    "one": (Load("", 1, 2, 128, 96), (1,)),
    "prefill": (Load("", 1, 2, 1000, 1, metric="prompt_per_s"), (1,)),
    "shared": (Load("", 16, 16, 1030, 24, shared=1000), (4, 1, 2, 8, 16)),  # a slot keeps what it has read
    "long": (Load("", 8, 8, 1000, 16), (8, 4, 16)),
}
# How llama.cpp guesses tokens by earlier text, without another model; tried for one client, where ours guesses, too
GUESSES: dict[str, tuple[Any, ...]] = {
    "": (),
    "ngram-simple": (),
    "ngram-simple, 3 to 8": ("--spec-ngram-simple-size-n", 3, "--spec-ngram-simple-size-m", 8),
    "ngram-map-k, 3 to 8": ("--spec-ngram-map-k-size-n", 3, "--spec-ngram-map-k-size-m", 8),
    "ngram-cache": (),
}
BUILT, PREBUILT = "llama-server of llama-cpp-python 0.3.36, built here", "xllamacpp 2026.10.11549"


@dataclass(frozen=True)
class Setting:
    """What runs the model, in which format, with how many slots."""

    program: str
    form: str
    slots: int
    guess: str = ""

    def __str__(self) -> str:
        return f"{self.program}, {self.form}, {self.slots} slots" + (f", {self.guess}" if self.guess else "")


def programs(binaries: Path) -> dict[str, list[Any]]:
    """Command lines by name."""
    script = [ROOT / ".venv-bench/bin/python", ROOT / "bench/serve_xllamacpp.py"]
    return {BUILT: [binaries / "llama-server", "--no-webui", "--log-disable"], PREBUILT: script}


def command(
    setting: Setting, known: dict[str, list[Any]], models: dict[str, Path], threads: int, length: int
) -> list[Any]:
    """Continuous batching and the prompt cache are on by default; `length` is tokens per slot."""
    sizes = ["-np", setting.slots, "-c", setting.slots * length, "-t", threads, "-tb", threads, "-fa", "on"]
    guesses = ["--spec-type", setting.guess.partition(",")[0], *GUESSES[setting.guess]] if setting.guess else []
    return [*known[setting.program], "-m", models[setting.form], "--port", 8232, *sizes, *guesses]


def best(look: str, known: dict[str, list[Any]], models: dict[str, Path], texts: Texts, threads: int) -> Setting:
    """The fastest setting for a kind of load: format, slots, program, guesses, one after the other, by short looks."""
    load, slots = LOOKS[look]
    rates: dict[Setting, float] = {}

    def rate(setting: Setting) -> float:
        if setting not in rates:
            with running("llama", command(setting, known, models, threads, load.length)) as server:
                rates[setting] = measure(server, texts.asks(load), load)[load.metric]
        return rates[setting]

    found = max((Setting(BUILT, form, slots[0]) for form in models), key=rate)
    found = max((replace(found, slots=count) for count in slots), key=rate)
    found = max((replace(found, program=name) for name in known), key=rate)
    if look == "one":
        found = max(found, *(replace(found, program=BUILT, guess=guess) for guess in GUESSES), key=rate)
    seen = {str(setting): round(rate, 1) for setting, rate in rates.items()}
    print(f"llama.cpp, {load.metric} at `{look}`:", json.dumps(seen), flush=True)
    return found
