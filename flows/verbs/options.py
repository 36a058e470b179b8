"""The arguments and options that several verbs take."""

from __future__ import annotations

from typing import Annotated

import typer

Preset = Annotated[str, typer.Argument(help="A preset's name, or the path of a YAML file")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, such as pretrain.optimizer.lr=1e-3")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]
Ref = Annotated[str, typer.Argument(help="A key's first characters, stage@preset, or models:/NAME@ALIAS")]
Only = Annotated[str | None, typer.Option("--only", help="This stage alone")]
From = Annotated[str | None, typer.Option("--from", help="This stage and all that follow it")]
Until = Annotated[str | None, typer.Option("--until", help="This stage and all that it needs")]
Force = Annotated[
    list[str] | None, typer.Option("--force", help="Run this stage although it is cached; may be repeated")
]
