"""The tools of the poet's agent, in OpenAI form: what the model is trained to call and what the application answers.

Descriptions are short on purpose: a small model reads the whole list before every answer, one token per character.
What each tool answers is JSON too:

- `search_poems`  -> ``{"poems": [{"title": str, "author": str, "lines": [str, ...]}, ...]}``, lines without punctuation
- `check_form`    -> ``{"correct": bool, "problem": str}``, the problem in Chinese, empty when the form is kept
- `rhymes_with`   -> ``{"characters": [str, ...]}``, the most frequent first, the asked character left out
"""

from typing import Any

from tasks.verse import han, matches_form, split_lines

FORMS = {"五言绝句": "5x4", "七言绝句": "7x4", "五言律诗": "5x8", "七言律诗": "7x8"}
"""Chinese name of each form -> its code, characters per line x lines."""


def _tool(name: str, description: str, required: tuple[str, ...], **parameters: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": parameters, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


SEARCH_POEMS = _tool(
    "search_poems",
    "按词语找诗",
    ("query",),
    query={"type": "string", "description": "词语"},
    author={"type": "string", "description": "作者"},
    limit={"type": "integer", "description": "首数"},
)
CHECK_FORM = _tool(
    "check_form",
    "检查诗的格式",
    ("text", "form"),
    text={"type": "string", "description": "诗"},
    form={"type": "string", "enum": list(FORMS.values())},
)
RHYMES_WITH = _tool(
    "rhymes_with",
    "找同韵字",
    ("character",),
    character={"type": "string", "description": "一个字"},
)
POET_TOOLS = [SEARCH_POEMS, CHECK_FORM, RHYMES_WITH]


def form_problem(text: str, form: str) -> str:
    """What `check_form` says is wrong with a text that should be verse of this form; "" when nothing is."""
    if matches_form(text, form):
        return ""
    characters, count = map(int, form.split("x"))
    lines = split_lines(text)
    if len(lines) != count:
        return f"共有{len(lines)}句"
    for number, line in enumerate(lines, 1):
        if len(line) != characters:
            return f"第{number}句有{len(line)}字"
        if strange := next((character for character in line if not han(character)), ""):
            return f"第{number}句有非汉字“{strange}”"
    return ""
