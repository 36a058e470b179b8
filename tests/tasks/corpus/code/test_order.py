"""Files of a repository in the order of their imports."""

from __future__ import annotations

import pytest

from tasks.corpus.code.order import imports_of, in_order


def ordered(files: dict[str, str]) -> list[str]:
    return in_order({path: imports_of(path, text) for path, text in files.items()})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {
                "src/pkg/a.py": "from pkg.z import thing",
                "src/pkg/z.py": "from . import y",
                "src/pkg/y.py": "import os\nfrom .sub import (\n    x,\n)",
                "src/pkg/sub/__init__.py": "",
                "src/pkg/sub/x.py": "from ..w import w",
                "src/pkg/w.py": "",
            },
            [
                "src/pkg/sub/__init__.py",
                "src/pkg/w.py",
                "src/pkg/sub/x.py",
                "src/pkg/y.py",
                "src/pkg/z.py",
                "src/pkg/a.py",
            ],
        ),
        (
            {"app.js": "const b = require('./lib/b')", "lib/b.ts": "import { c } from '../c';", "c/index.ts": ""},
            ["c/index.ts", "lib/b.ts", "app.js"],
        ),
        (
            {
                "src/main.c": '#include <stdio.h>\n#include "util.h"',
                "src/util.h": "#include <proj/base.h>",
                "include/proj/base.h": "",
            },
            ["include/proj/base.h", "src/util.h", "src/main.c"],
        ),
        ({"b.go": "", "a.go": "", "c.txt": "import b"}, ["a.go", "b.go", "c.txt"]),
        ({"a.py": "import b", "b.py": "import a", "c.py": "import a"}, ["a.py", "b.py", "c.py"]),
    ],
    ids=["python", "javascript", "c", "without imports by path", "circle"],
)
def test_what_is_imported_comes_first(files: dict[str, str], expected: list[str]) -> None:
    assert ordered(files) == expected


def test_a_file_that_imports_itself_or_what_is_elsewhere_waits_for_nothing() -> None:
    assert ordered({"b.py": "import b, numpy as np", "a.py": "from os import path"}) == ["a.py", "b.py"]
