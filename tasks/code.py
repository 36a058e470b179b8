"""The digest of a stage's code: every project module its function reaches through imports.

Imports are followed statically, also those inside functions; nothing is run. An import by a computed name cannot be
seen: do not use one in a stage.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CONTRACT_VERSION = "1"  # raise it when a change to the contract's own modules changes what stages produce
_CONTRACT_MODULES = ("artifact", "build", "code", "config", "errors", "explain", "files", "key")
_CONTRACT_MODULES += ("lock", "output", "session", "stage", "store", "tracking")
CONTRACT = {f"tasks.{name}" for name in _CONTRACT_MODULES}
PROJECT = Path(__file__).resolve().parents[1]


def code_digests(function: Callable[..., object], runs: tuple[str, ...] = ()) -> dict[str, str]:
    """Module name -> digest of its normalised source, for every project module that `function` reaches.

    `runs` names modules that the function starts in a process of their own; they count with all they reach.
    Comments, docstrings and formatting do not count. Other files of a reached package count by their bytes.
    """
    module = inspect.getmodule(function)
    if module is None or module.__file__ is None:
        raise TypeError(f"{function!r} is not defined in a module file, so its code has no identity")
    depth = len(module.__name__.split(".")) + (Path(module.__file__).name == "__init__.py")
    roots = tuple(dict.fromkeys((Path(module.__file__).resolve().parents[depth - 1], PROJECT)))
    found = {n: path for start in (module.__name__, *runs) for n, path in _reached(start, roots).items()}
    return {"contract": CONTRACT_VERSION} | {name: _digest(path) for name, path in sorted(found.items())}


def library_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed version of each distribution; "missing" where it is not installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def normalise(source: str) -> str:
    """Python source without comments, docstrings and formatting."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and body
            and _is_text(body[0])
        ):
            node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _reached(start: str, roots: tuple[Path, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        path = _locate(name, roots)
        if path is None or name in found or name in CONTRACT:
            continue
        found[name] = path
        waiting += [name.rpartition(".")[0]] if "." in name else []
        waiting += _imports(name, path)
        if path.name == "__init__.py":
            found |= {f"{name}/{f.relative_to(path.parent).as_posix()}": f for f in _package_data(path.parent)}
    return found


def _locate(name: str, roots: tuple[Path, ...]) -> Path | None:
    for root in roots:
        base = root.joinpath(*name.split("."))
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if name and path.is_file():
                return path
    return None


def _imports(name: str, path: Path) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for module, level, names in _parsed(path, *_stamp(path))[1]:
        base = module
        if level:
            above = package.split(".")[: len(package.split(".")) - level + 1]
            base = ".".join([*above, *([module] if module else [])])
        yield base
        yield from (f"{base}.{n}" for n in names)


def _package_data(folder: Path) -> list[Path]:
    """Files of a package that are not Python, without those of packages inside it and those that editors leave."""
    there = [f for f in folder.iterdir() if not f.name.startswith((".", "__pycache__")) and not f.name.endswith("~")]
    inner = [d for d in there if d.is_dir() and not (d / "__init__.py").exists()]
    own = [f for f in there if f.is_file() and f.suffix not in {".py", ".pyc", ".md"}]
    return sorted([*own, *(f for d in inner for f in _package_data(d))])


def _digest(path: Path) -> str:
    return _parsed(path, *_stamp(path))[0]


def _stamp(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_size, info.st_mtime_ns


@lru_cache(maxsize=4096)
def _parsed(path: Path, _size: int, _mtime_ns: int) -> tuple[str, tuple[tuple[str, int, tuple[str, ...]], ...]]:
    """(digest, imports) of a file; an import is (module, level of a relative one, names taken from it)."""
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16], ()
    source = path.read_text(encoding="utf-8")
    imports: list[tuple[str, int, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imports += [(alias.name, 0, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.module or "", node.level, tuple(alias.name for alias in node.names)))
    return hashlib.sha256(normalise(source).encode()).hexdigest()[:16], tuple(imports)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
