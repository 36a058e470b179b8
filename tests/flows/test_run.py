"""Which release becomes the champion."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flows.run import Done, champion


@pytest.mark.parametrize(
    ("stages", "chosen"),
    [
        (("quantize", "release", "apply", "report"), "release"),
        (("quantize", "release"), None),  # --until release: not tried
        (("apply", "report"), None),  # --from apply
    ],
)
def test_a_release_is_champion_only_once_it_was_tried(stages: tuple[str, ...], chosen: str | None) -> None:
    done = [Done(name, SimpleNamespace(stage=name), True) for name in stages]  # type: ignore[arg-type]
    found = champion(done)
    assert (found.stage if found else None) == chosen
