"""torch.compile below a path with a blank, which torch alone cannot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = """
import torch
from models.compiler import reach_torch
assert " " in torch.__file__
reach_torch()
print(float(torch.compile(lambda x: (x.sin() + 1).sum())(torch.zeros(40))))
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_code_is_compiled_where_torch_lies_below_a_path_with_a_blank(tmp_path):
    place = tmp_path / "a b"
    place.mkdir()
    (place / "packages").symlink_to(Path(torch.__file__).parents[1])
    project = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{place / 'packages'}:{project}", "TMPDIR": str(tmp_path)}
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path / "kernels")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "40.0"
