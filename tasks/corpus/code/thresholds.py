"""The ranges of code's measures, by language, from their YAML file."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.corpus.code.languages import LANGUAGES
from tasks.corpus.code.measures import CODE
from tasks.corpus.heuristics.thresholds import Range
from tasks.errors import StageError


class CodeThresholds(BaseModel):
    """How code is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    rules: dict[str, Range] = Field(min_length=1, description="Measure -> its range, in the order they are asked")
    languages: dict[str, dict[str, Range]] = Field({}, description="Language -> the measures it has other ranges for")

    @model_validator(mode="after")
    def _names_exist(self) -> CodeThresholds:
        unknown = [name for own in (self.rules, *self.languages.values()) for name in own if name not in CODE]
        if unknown:
            raise ValueError(f"no such measure: {', '.join(unknown)}; expected some of {', '.join(CODE)}")
        other = [name for name in self.languages if name not in LANGUAGES]
        if other:
            raise ValueError(f"no such language: {', '.join(other)}; expected some of {', '.join(LANGUAGES)}")
        return self

    def ranges(self) -> dict[str, dict[str, Range]]:
        """Measure -> language -> range."""
        return {
            measure: {name: self.languages.get(name, {}).get(measure, usual) for name in LANGUAGES}
            for measure, usual in self.rules.items()
        }


def load_code_thresholds(file: Path) -> CodeThresholds:
    """Raises StageError for a file that does not hold, with each wrong field."""
    import yaml

    try:
        return CodeThresholds.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise StageError(
            f"corpus.code_thresholds: {file}: {error}; expected a YAML mapping like conf/code/thresholds.yaml"
        ) from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise StageError(f"{file}: {wrong}; see tasks/corpus/code/thresholds.py for the fields") from error
