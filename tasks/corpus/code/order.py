"""The order of files in a repository: imported ones first (DeepSeek-Coder, Guo et al. 2024, section 2.2)."""

from __future__ import annotations

import heapq
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tasks.corpus.code.languages import language_of

_PYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]+)|import[ \t]+([\w., \t]+))", re.MULTILINE
)
_SCRIPT = re.compile(r"""\b(?:from|import|require\(|import\()\s*["'](\.[^"'\n]+)["']""")
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+)[">]', re.MULTILINE)
_JAVA = re.compile(r"^[ \t]*import[ \t]+(?:static[ \t]+)?([\w.]+)", re.MULTILINE)
_SCRIPT_ENDS = ("", ".ts", ".tsx", ".js", ".jsx", ".mjs", "/index.ts", "/index.tsx", "/index.js")


def imports_of(path: str, text: str) -> tuple[str, ...]:
    """The files that a file names, as paths or the ends of paths, each distinct; empty for languages without rules."""
    find = _FINDERS.get(language_of(path))
    return tuple(dict.fromkeys(find(path, text))) if find else ()


def in_order(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """The paths, each behind those it imports, else by name; a circle begins with the file that misses fewest."""
    ends = _by_end(imports)
    needs = {
        path: {found for name in named if (found := ends.get(name)) and found != path}
        for path, named in imports.items()
    }
    needed_by = defaultdict(list)
    for path, own in needs.items():
        for need in own:
            needed_by[need].append(path)
    missing = {path: len(own) for path, own in needs.items()}
    waiting = [(count, path) for path, count in missing.items()]
    heapq.heapify(waiting)
    ordered: dict[str, None] = {}
    while waiting:
        count, path = heapq.heappop(waiting)
        if path in ordered or count != missing[path]:
            continue  # an older entry
        ordered[path] = None
        for user in needed_by[path]:
            missing[user] -= 1
            heapq.heappush(waiting, (missing[user], user))
    return list(ordered)


def _by_end(paths: Iterable[str]) -> dict[str, str]:
    """Every end of every path -> the path; of several the shortest has it."""
    ends: dict[str, str] = {}
    for path in sorted(paths, key=lambda one: (one.count("/"), one)):
        parts = path.split("/")
        for start in range(len(parts)):
            ends.setdefault("/".join(parts[start:]), path)
    return ends


def _python(path: str, text: str) -> Iterator[str]:
    for module, names, plain in _PYTHON.findall(text):
        for one in plain.split(","):
            yield from _module(one.split()[0].replace(".", "/")) if one.strip() else ()
        if module:
            base = _place(path, module)
            for name in names.strip("()").split(","):
                if name.strip():
                    yield from _module(posixpath.join(base, name.split()[0]))
            yield from _module(base)


def _place(path: str, module: str) -> str:
    """`..a.b`, as a file imports it, as a path."""
    name = module.lstrip(".")
    above = len(module) - len(name)
    folder = posixpath.join(posixpath.dirname(path), *[".."] * (above - 1)) if above else ""
    return posixpath.normpath(posixpath.join(folder, name.replace(".", "/")))


def _module(place: str) -> Iterator[str]:
    yield from (f"{place}.py", f"{place}/__init__.py")


def _script(path: str, text: str) -> Iterator[str]:
    for name in _SCRIPT.findall(text):
        place = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
        yield from (place + end for end in _SCRIPT_ENDS)


def _include(path: str, text: str) -> Iterator[str]:
    for name in _INCLUDE.findall(text):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
        yield posixpath.normpath(name)


def _java(_path: str, text: str) -> Iterator[str]:
    for name in _JAVA.findall(text):
        yield name.replace(".", "/") + ".java"


_FINDERS = {
    "python": _python, "javascript": _script, "typescript": _script, "c": _include, "cpp": _include, "java": _java,
}  # fmt: skip
