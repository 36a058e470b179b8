"""torch.compile where torch lies below a path with blanks, at which it splits the C++ compiler's command (2.13)."""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path


def reach_torch() -> None:
    """Let compiled code find torch's headers and libraries by a path without blanks.

    Raises PermissionError when somebody else's link stands where ours would.
    """
    from torch._inductor import cpp_builder
    from torch.utils import cpp_extension

    torch = Path(cpp_extension._TORCH_PATH)
    if len(str(torch).split()) == 1:
        return
    name = hashlib.sha256(str(torch).encode()).hexdigest()[:16]
    link = Path(tempfile.gettempdir(), f"torch-{os.getuid()}-{name}")
    with suppress(FileExistsError):
        link.symlink_to(torch)
    if link.lstat().st_uid != os.getuid() or link.resolve() != torch.resolve():
        raise PermissionError(f"{link}: not our link to {torch}; remove it, or set TMPDIR to a folder of your own")
    cpp_extension._TORCH_PATH = cpp_builder._TORCH_PATH = str(link)
    cpp_extension.TORCH_LIB_PATH = str(link / "lib")
