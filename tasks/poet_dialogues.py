"""Dialogues of the poet's agent: requests that need a tool, the call, what came back, and the answer made of it."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tasks.chat import assistant_call
from tasks.poems import Poem, verse
from tasks.poet_requests import FORM_NAMES, compose, theme_of
from tasks.poet_tools import form_problem
from tasks.verse import rhyme_group

Message = dict[str, Any]

SEARCH_BOTH = ("找一首{author}写{theme}的诗", "搜索{author}关于{theme}的诗。", "有没有{author}写“{theme}”的诗？")
SEARCH_QUERY = ("找一首写{theme}的诗", "帮我找含有“{theme}”的诗。", "有哪些诗写到{theme}？", "搜索“{theme}”")
CHECK = ("检查这首诗是不是{form}：\n{text}", "这首诗合{form}的格式吗？\n{text}", "下面是{form}吗？\n{text}")
RHYME = (
    "“{character}”押什么韵？给我几个同韵字",
    "哪些字和“{character}”同韵？",
    "找几个与“{character}”押韵的字。",
    "我想押“{character}”字韵，有哪些字？",
)
SMALL_TALK = (
    (("你是谁？", "你叫什么名字？", "介绍一下你自己"), "我是一个会写诗的小模型，读过许多唐诗宋词。"),
    (
        ("你会做什么？", "你能帮我做什么？", "你有什么本领？"),
        "我会写绝句和律诗，会续诗，也会查诗、检查格式、找同韵字。",
    ),
    (("你好", "您好！", "早上好"), "你好！想写什么样的诗？"),
    (("谢谢", "多谢你", "谢谢你的诗"), "不客气，欢迎再来。"),
    (("再见", "下次见"), "再见，愿你诗意常在。"),
    (("什么是绝句？", "绝句是什么"), "绝句是四句的诗，每句五字或七字。"),
    (("什么是律诗？", "律诗是什么"), "律诗是八句的诗，每句五字或七字。"),
    (("五言绝句有几个字？",), "五言绝句四句，每句五字，共二十字。"),
    (("七言绝句有几个字？",), "七言绝句四句，每句七字，共二十八字。"),
)
NOTHING_FOUND = "没有找到这样的诗，换个词试试吧。"
FEWEST_RHYMES, LISTED_RHYMES = 5, 8  # characters that an answer names, and that the tool lists


def user(text: str) -> Message:
    """What the user says."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    """What the assistant says."""
    return {"role": "assistant", "content": text}


def tool(result: dict[str, Any]) -> Message:
    """What a tool gives back, as the agent's loop writes it."""
    return {"role": "tool", "content": json.dumps(result, ensure_ascii=False)}


def small_talk(draw: random.Random) -> list[Message]:
    """A question about the poet itself or its craft, answered without any tool."""
    questions, answer = draw.choice(SMALL_TALK)
    return [user(draw.choice(questions)), assistant(answer)]


class Dialogues:
    """Draws tool-using exchanges around given poems."""

    def __init__(self, poems: Sequence[Poem]) -> None:
        self.rhyming = _rhyming(poems)

    def exchange(self, poem: Poem, draw: random.Random) -> list[Message]:
        """One request about this poem and everything up to its answer."""
        kinds: list[Callable[[Poem, random.Random], list[Message]]] = [self.search, self.check, self.rhyme, self.plain]
        return draw.choices(kinds, weights=(4, 4, 4, 1))[0](poem, draw)

    def search(self, poem: Poem, draw: random.Random) -> list[Message]:
        """Find one poem by theme, perhaps by its author, too; the answer names it and its first couplet."""
        theme = theme_of(poem) or poem.lines[0][:2]
        by_author = draw.random() < 0.5
        request = draw.choice(SEARCH_BOTH if by_author else SEARCH_QUERY).format(author=poem.author, theme=theme)
        arguments = {"query": theme, "author": poem.author} if by_author else {"query": theme}
        found = [] if draw.random() < 0.1 else [poem]
        result = {"poems": [{"title": p.title, "author": p.author, "lines": list(p.lines)} for p in found]}
        answer = f"{poem.author}《{poem.title}》：\n{verse(poem.lines[:2])}" if found else NOTHING_FOUND
        return [user(request), assistant_call("search_poems", **arguments, limit=1), tool(result), assistant(answer)]

    def check(self, poem: Poem, draw: random.Random) -> list[Message]:
        """Check a poem against a form that it may break."""
        lines, form = list(poem.lines), poem.form
        fault = draw.random()
        if fault < 0.2:
            lines = lines[:-2]
        elif fault < 0.4:
            broken = draw.randrange(len(lines))
            lines[broken] = lines[broken][:-1]
        elif fault < 0.6:
            form = {"5": "7", "7": "5"}[form[0]] + form[1:]
        text, name = verse(lines), FORM_NAMES[form]
        problem = form_problem(text, form)
        return [
            user(draw.choice(CHECK).format(form=name, text=text)),
            assistant_call("check_form", text=text, form=form),
            tool({"correct": not problem, "problem": problem}),
            assistant(f"不合{name}：{problem}。" if problem else f"是的，这是一首{name}。"),
        ]

    def rhyme(self, poem: Poem, draw: random.Random) -> list[Message]:
        """Find characters that rhyme with the poem's last one."""
        character = poem.lines[-1][-1]
        others = [c for c in self.rhyming.get(rhyme_group(character), []) if c != character]
        if len(others) < FEWEST_RHYMES:
            return self.check(poem, draw)
        listed = others[:LISTED_RHYMES]
        answer = f"与“{character}”同韵的字有：{'、'.join(listed[:FEWEST_RHYMES])}。"
        return [
            user(draw.choice(RHYME).format(character=character)),
            assistant_call("rhymes_with", character=character),
            tool({"characters": listed}),
            assistant(answer),
        ]

    def plain(self, poem: Poem, draw: random.Random) -> list[Message]:
        """A request that no tool helps with, though tools are at hand."""
        if draw.random() < 0.3:
            return small_talk(draw)
        request = compose(poem, draw)
        return [user(request.prompt), assistant(request.answer)]


def _rhyming(poems: Sequence[Poem]) -> dict[str, list[str]]:
    """Rhyme group -> its characters among those that the poems use, the most frequent first, as the tool lists them."""
    groups: dict[str, list[str]] = {}
    for character, _ in Counter(character for poem in poems for line in poem.lines for character in line).most_common():
        if group := rhyme_group(character):
            groups.setdefault(group, []).append(character)
    return groups
