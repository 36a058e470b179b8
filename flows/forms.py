"""Forms of Prefect's UI: settings with their descriptions and bounds, filled in part and laid over a preset.

Whether settings go together can only be told of the whole, so a form knows of no such checks; `config.load` makes them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, RootModel, create_model


def form_of(model: type[BaseModel]) -> type[BaseModel]:
    """The fields of a model, and of the groups of settings in it, without what validates several of them together."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        part = form_of(field.annotation) if _is_group(field.annotation) else None  # type: ignore[arg-type]
        about = [*field.metadata, Field(description=field.description)]
        fields[name] = (Annotated[part or field.annotation, *about], part() if part else field.default)
    return create_model(model.__name__, __config__=model.model_config, __doc__=model.__doc__, **fields)


def laid_over(values: dict[str, Any], form: BaseModel) -> dict[str, Any]:
    """The values with what was set in a form on top: groups of settings one by one, lists and mappings whole."""
    given = {}
    for name in form.model_fields_set:
        value, below = getattr(form, name), values.get(name)
        group = _is_group(type(value))
        given[name] = laid_over(below if isinstance(below, dict) else {}, value) if group else value
    return values | given


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, RootModel)
