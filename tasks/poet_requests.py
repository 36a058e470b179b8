"""What a poet is asked and how it answers, made from poems: verse on demand, continuations, authorship."""

import random
from dataclasses import dataclass
from typing import Any

from tasks.poems import Poem, verse
from tasks.poet_tools import FORMS

FORM_NAMES = {code: name for name, code in FORMS.items()}
THEMES = "春夏秋冬月雪风雨云山水江海花柳梅竹松菊莲酒琴茶马舟雁鹤僧寺别梦愁夜晓村田"
LONGEST_TITLE = 12  # characters; longer ones tell a story and would teach to copy, not to write

COMPOSE_TITLE = (
    "写一首{form}，题目是《{title}》。",
    "以《{title}》为题，作一首{form}。",
    "请写{form}一首，题为《{title}》。",
    "帮我写一首题目是《{title}》的{form}",
)
COMPOSE_THEME = (
    "写一首关于{theme}的{form}。",
    "以“{theme}”为主题写一首{form}。",
    "请作一首写{theme}的{form}",
    "来一首{form}，写{theme}。",
)
COMPOSE_STYLE = ("仿{author}写一首{form}，题目是《{title}》。", "用{author}的风格作一首{form}，写{theme}。")
CONTINUE = ("接着写完这首{form}：\n{start}", "续写{form}：\n{start}", "这首{form}的开头是“{start}”，请写完。")
WHO = ("“{couplet}”是谁写的？", "谁写了“{couplet}”？出自哪首诗？")


@dataclass(frozen=True)
class Request:
    """One question to the poet, an answer to it, and how another answer can be judged."""

    prompt: str
    answer: str
    check: dict[str, Any]
    given: tuple[str, ...] = ()  # lines that the prompt begins the verse with


def theme_of(poem: Poem) -> str:
    """What a poem is about: the first of the themes in its title, or else in its lines; "" for none."""
    return next((c for text in (poem.title, *poem.lines) for c in text if c in THEMES), "")


def compose(poem: Poem, draw: random.Random) -> Request:
    """Ask for a poem of this form by title, theme or style."""
    theme = theme_of(poem)
    choices = list(COMPOSE_THEME) if theme else []
    if len(poem.title) <= LONGEST_TITLE:
        choices += [*COMPOSE_TITLE, *(s for s in COMPOSE_STYLE if theme or "{theme}" not in s)]
    wording = draw.choice(choices or ["写一首{form}。"])
    prompt = wording.format(form=FORM_NAMES[poem.form], title=poem.title, theme=theme, author=poem.author)
    return Request(prompt, poem.text, _check("compose", poem.form, poem))


def continuation(poem: Poem, draw: random.Random) -> Request:
    """Give the first line or couplet and ask for the rest."""
    given = draw.choice((1, 2))
    start = verse(poem.lines[:given]) if given == 2 else poem.lines[0] + "，"
    rest = poem.text[len(start) :].lstrip("\n")
    characters, lines = poem.form.split("x")
    prompt = draw.choice(CONTINUE).format(form=FORM_NAMES[poem.form], start=start)
    return Request(prompt, rest, _check("continue", f"{characters}x{int(lines) - given}", poem), poem.lines[:given])


def who(poem: Poem, draw: random.Random) -> Request:
    """Give a couplet and ask for its poet."""
    place = 2 * draw.randrange(len(poem.lines) // 2)
    couplet = verse(poem.lines[place : place + 2]).removesuffix("。")
    prompt = draw.choice(WHO).format(couplet=couplet)
    return Request(prompt, f"这是{poem.author}的《{poem.title}》。", _check("who", "", poem))


def _check(kind: str, form: str, poem: Poem) -> dict[str, Any]:
    return {"kind": kind, "form": form, "poem": poem.id, "title": poem.title, "author": poem.author}
