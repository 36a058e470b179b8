"""Programming languages by the extension of a file's name, and how a comment is written in each."""

from __future__ import annotations

from pathlib import PurePosixPath

HASH, SLASHES, DASHES, STARS, MARKUP, PERCENT = "# {}", "// {}", "-- {}", "/* {} */", "<!-- {} -->", "% {}"
_LANGUAGES = {
    "python": (HASH, "py pyi pyx"), "javascript": (SLASHES, "js mjs cjs jsx"), "typescript": (SLASHES, "ts mts tsx"),
    "c": (SLASHES, "c h"), "cpp": (SLASHES, "cc cpp cxx hh hpp hxx cu"), "java": (SLASHES, "java"),
    "csharp": (SLASHES, "cs"), "go": (SLASHES, "go"), "rust": (SLASHES, "rs"), "kotlin": (SLASHES, "kt kts"),
    "scala": (SLASHES, "scala"), "swift": (SLASHES, "swift"), "php": (SLASHES, "php"), "dart": (SLASHES, "dart"),
    "ruby": (HASH, "rb"), "perl": (HASH, "pl pm"), "shell": (HASH, "sh bash zsh"), "r": (HASH, "r"),
    "julia": (HASH, "jl"), "elixir": (HASH, "ex exs"), "cmake": (HASH, "cmake"), "lua": (DASHES, "lua"),
    "haskell": (DASHES, "hs"), "sql": (DASHES, "sql"), "css": (STARS, "css scss"), "html": (MARKUP, "html htm"),
    "vue": (MARKUP, "vue"), "erlang": (PERCENT, "erl hrl"), "tex": (PERCENT, "tex sty"),
}  # fmt: skip
_OF = {extension: name for name, (_, extensions) in _LANGUAGES.items() for extension in extensions.split()}
LANGUAGES = tuple(_LANGUAGES)


def language_of(path: str) -> str:
    """The language a file's extension tells; "" when it is none that is known."""
    return _OF.get(PurePosixPath(path).suffix[1:].lower(), "")


def comment(text: str, language: str) -> str:
    """A line of the language that says nothing to its compiler."""
    return _LANGUAGES[language][0].format(text)
