"""Real pages of the catalogue's packages through both extractors: their sentences and code stay, their menus go.

The packages come through apt, into $FULLCHAIN_HOME/downloads or else .fullchain/downloads, once.
"""

from __future__ import annotations

import re
from functools import cache

import pytest

from tasks.corpus.documents import draft
from tasks.corpus.extract import EXTRACTORS
from tasks.sources import Source, open_source
from tasks.sources.encoding import decode
from tasks.stage import StageError

pytestmark = pytest.mark.slow

# Source, member, sentences, lines of a code block, what only menus say
PAGES = [
    (
        "git-doc/pages",
        "usr/share/doc/git-doc/gittutorial.html",
        ["It is a good idea to introduce yourself to Git with your name and public email address before doing any",
         "This tutorial explains how to import a new project into Git"],
        "$ tar xzf project.tar.gz\n$ cd project\n$ git init",
        ["Last updated"],
    ),
    (
        "debian-reference-zh-cn",
        "usr/share/debian-reference/ch04.zh-cn.html",
        ["当用户(或程序)需要访问系统时，需要进行认证，确认身份是受信任。", "如 passwd(5) 中所述，这个文件中被"],
        "user1:x:1000:1000:User1 Name,,,:/home/user1:/bin/bash\nuser2:x:1001:1001:User2 Name,,,:/home/user2:/bin/bash",
        ["上一页", "下一页", "系统初始化", "网络设置"],
    ),
    (
        "debian-handbook/zh",
        "usr/share/doc/debian-handbook/html/zh-CN/sect.apt-get.html",
        ["其他众多的图形界面以外部项目形式出现：synaptic、aptitude(它同时包含文本模式界面和图形界面"],
        "Package: *\nPin: release a=unstable\nPin-Priority: 490",
        ["后退", "下一步"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("extractor", list(EXTRACTORS))
@pytest.mark.parametrize("case", PAGES, ids=lambda case: case[0])
def test_sentences_and_code_stay_and_menus_go(case: tuple, extractor: str) -> None:
    source, member, sentences, code, menus = case
    text = draft({"html": page(source, member)}, extractor=extractor).text
    words = re.sub(r"[`*]", "", text.replace("（", "(").replace("）", ")"))
    for sentence in sentences:
        assert sentence in words
    assert re.search(rf"^```[^\n]*\n([^\n]*\n)*?{re.escape(code)}\n", text, re.MULTILINE)
    for menu in menus:
        assert menu not in words


@pytest.mark.parametrize("extractor", list(EXTRACTORS))
def test_no_chinese_page_comes_out_empty(extractor: str) -> None:
    texts = [draft({"html": page}, extractor=extractor).text for page in sample("libreoffice-help-zh-cn")]
    assert len(texts) > 10 and all(texts)


def opened(source: str) -> Source:
    try:
        return open_source(source)
    except StageError as error:
        if "could not be fetched" in str(error):
            pytest.skip(str(error))
        raise


@cache
def page(source: str, member: str) -> str:
    return decode(opened(source).read(member))


@cache
def sample(source: str) -> list[str]:
    """Every 200th page."""
    read = [entry.read() for number, entry in enumerate(opened(source).entries()) if number % 200 == 0]
    return [decode(data) for data in read]
