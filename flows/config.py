"""The chain's configuration: one model per stage, presets in `conf/`, and overrides from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flows import stages
from flows.forms import laid_over
from flows.names import nearest
from tasks.errors import StageError

PRESETS = Path(__file__).resolve().parents[1] / "conf"


class ChainConfig(BaseModel):
    """Everything a run of the chain can be told. The defaults are the `poet` preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field("poet", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Names the experiment and the model")
    corpus: stages.CorpusConfig = stages.CorpusConfig()
    tokenizer: stages.TokenizerConfig = stages.TokenizerConfig()
    tokens: stages.TokensConfig = stages.TokensConfig()
    pretrain: stages.PretrainConfig = stages.PretrainConfig()
    finetune: stages.FinetuneConfig = stages.FinetuneConfig()
    align: stages.AlignConfig = stages.AlignConfig()
    evaluate: stages.EvaluateConfig = stages.EvaluateConfig()
    quantize: stages.QuantizeConfig = stages.QuantizeConfig()
    release: stages.ReleaseConfig = stages.ReleaseConfig()
    apply: stages.ApplyConfig = stages.ApplyConfig()
    report: stages.ReportConfig = stages.ReportConfig()

    @model_validator(mode="after")
    def _gate_can_compare(self) -> Self:
        if "bits_per_byte" not in self.evaluate.suites:
            raise ValueError("evaluate.suites lacks bits_per_byte, which the release gate compares; add it")
        return self

    @property
    def uncontaminated(self) -> stages.CorpusConfig:
        """The corpus's settings; the sources that held-out prompts come from are among its evaluation sets.

        They are so whatever suites are chosen, so that a choice of suites reruns the evaluation alone.
        """
        sets = dict.fromkeys((*self.corpus.evaluation_sets, *self.finetune.sources))
        return self.corpus.model_copy(update={"evaluation_sets": tuple(sets)})

    @property
    def model_uri(self) -> str:
        """Where the registry has the model that this configuration releases."""
        return f"models:/{self.release.registered_name or self.name}@{self.release.alias}"


def presets() -> list[str]:
    """Names of the presets that come with the project."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def load(preset: str, overrides: tuple[str, ...] = (), form: BaseModel | None = None) -> ChainConfig:
    """A preset by name, or a YAML file of the user's by path, with `a.b=value` overrides and then a form on top.

    Raises:
        StageError: unknown preset or key (with the nearest valid names), a value out of its bounds, or values that do
            not go together.
    """
    values = _read(preset)
    values.setdefault("name", Path(preset).stem)
    for override in overrides:
        _put(values, override)
    return validated(laid_over(values, form) if form else values, preset)


def validated(values: dict[str, Any], source: str) -> ChainConfig:
    """Check values against the models; every mistake is told by field, value and bound."""
    try:
        return ChainConfig.model_validate(values)
    except ValidationError as error:
        raise StageError(f"{source}: " + "\n".join(_mistake(dict(e)) for e in error.errors())) from error


def _read(preset: Any, extended_by: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(preset, str):
        raise StageError(f"{extended_by[-1]}: extends: expected the name or path of one preset, found {preset!r}")
    path = Path(preset) if preset.endswith((".yaml", ".yml")) else PRESETS / f"{preset}.yaml"
    if not path.is_file():
        raise StageError(f"unknown preset {preset!r}; {nearest(preset, presets())} A path to a YAML file works, too")
    if preset in extended_by:
        raise StageError(f"{preset}: extends itself through {' -> '.join(extended_by)}; take one `extends:` away")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise StageError(f"{path.name}: not valid YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise StageError(f"{path.name}: not UTF-8 at byte {error.start}; save it in that encoding") from error
    if not isinstance(values, dict):
        raise StageError(f"{path.name}: expected a mapping of stage names to settings, found a {type(values).__name__}")
    base = values.pop("extends", None)
    if not base:
        return values
    below = _read(base, (*extended_by, preset))
    below.pop("name", None)  # a preset is named by its own file
    return _merged(below, values)


def _merged(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    both = {
        k: _merged(base[k], v) if isinstance(v, dict) and isinstance(base.get(k), dict) else v for k, v in top.items()
    }
    return base | both


def _put(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals:
        raise StageError(f"--set {override}: expected KEY=VALUE, such as pretrain.optimizer.lr=1e-3")
    *above, last = path.split(".")
    for part in above:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise StageError(f"--set {override}: {part} is a value, not a group of settings")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StageError(f"--set {override}: the value is not valid YAML: {error}") from error


def _mistake(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        *above, last = error["loc"]
        return f"{where}: no such setting; {nearest(str(last), _names(above))}"
    given = "" if isinstance(error["input"], dict) else f" (given: {error['input']!r})"
    return f"{where}: {error['msg']}{given}"


def _names(path: list[Any]) -> list[str]:
    """Valid field names of the model at a place in the configuration."""
    model: type[BaseModel] = ChainConfig
    for part in path:
        field = model.model_fields.get(str(part))
        inner = _types(field.annotation) if field else []
        model = next((t for t in inner if isinstance(t, type) and issubclass(t, BaseModel)), model)
    return sorted(model.model_fields)


def _types(annotation: Any) -> list[Any]:
    inner = [t for arg in getattr(annotation, "__args__", ()) for t in _types(arg)]
    return [annotation, *inner]
