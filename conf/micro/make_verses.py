"""Writes verses.jsonl: small verses of our own making, for the `micro` preset and for tests.

    python conf/micro/make_verses.py

They scan and rhyme, and mean little. Some faults are planted, so that every rule of the corpus stage has work: copies,
near copies, Traditional characters, notes in brackets, lost characters, a fragment, and records that cannot be read.
"""

import json
import random
from pathlib import Path

VERSES, SEED = 700, 7
RHYMES = [
    "风中空红翁钟松东宫虹鸿蓬",
    "光霜乡长香凉阳堂窗茫章航",
    "天年烟边前眠船泉莲弦川鲜",
    "花家沙霞茶鸦斜涯瓜纱芽华",
    "秋流舟楼愁游鸥洲头州留悠",
    "人春尘云门深心音林尊村神",
]
THINGS = (
    "山水 江湖 明月 清风 白云 青松 寒梅 翠竹 古寺 孤城 短篱 长桥 野渡 渔火 归雁 "
    "鸣蝉 落叶 残雪 细雨 斜阳 远岫 空庭 小径 石门 荷塘 柳岸 茅屋 书窗 琴台 棋局"
)
DEEDS = "初照 半掩 独倚 遥望 轻摇 暗度 细数 静听 闲看 同归 相逢 别后 醉里 梦回 送尽 留住 唤起 写成 吹落 映入"
PLACES = "溪上 林间 窗外 楼前 花下 竹边 桥畔 山中 城头 池心 天际 门里"
ENDS = "白静远冷碧重晚早满起落响转近细暗绿小"
TITLES = "春夜 秋日 山居 江行 访友 送别 晚步 听雨 望月 题壁 寄远 夜读 早行 登楼 过桥 采茶"
TUNES = "偶成 口占 有感 即事 其一 其二 小记 杂咏"
AUTHORS = "云溪客 松下生 半亩翁 渡头人 听泉子 石桥叟 青衫客 柳岸生"
TRADITIONAL = str.maketrans("风红东钟乡长凉阳边鲜华楼门云", "風紅東鐘鄉長涼陽邊鮮華樓門雲")


def line(dice: random.Random, last: str, characters: int) -> str:
    """Five characters are thing, deed, end; seven have a place before them."""
    head = word(dice, PLACES) if characters == 7 else ""
    return head + word(dice, THINGS) + word(dice, DEEDS) + last


def word(dice: random.Random, words: str) -> str:
    return dice.choice(words.split())


def verse(dice: random.Random) -> dict[str, object]:
    """A poem of couplets; its even lines rhyme."""
    characters, couplets = dice.choice([5, 5, 7]), dice.choice([2, 2, 4])
    ends = dice.sample(dice.choice(RHYMES), couplets)
    pairs = [(line(dice, dice.choice(ENDS), characters), line(dice, end, characters)) for end in ends]
    return {
        "title": word(dice, TITLES) + word(dice, TUNES),
        "author": word(dice, AUTHORS),
        "paragraphs": [f"{first}，{second}。" for first, second in pairs],
    }


def faulty(verses: list[dict]) -> list[object]:
    """One record or more for every rule."""
    first, second, third, fourth = ([*v["paragraphs"]] for v in verses[:4])
    changed = ["雪" + first[0][1:], *first[1:]]
    return [
        verses[0],
        {**verses[0], "title": "别本", "paragraphs": changed},
        {**verses[1], "paragraphs": [second[0][:3] + "□" + second[0][4:], *second[1:]]},
        {**verses[2], "paragraphs": [third[0] + "（一作清风）", *third[1:]], "title": "异文"},
        {**verses[3], "title": "残句", "paragraphs": fourth[0][:5] + "。"},
        {**verses[3], "title": "断章", "paragraphs": [fourth[0][:6]]},
        {"title": "无文", "author": "听泉子", "paragraphs": []},
        {"title": "English", "author": "nobody", "paragraphs": ["This one is no Chinese verse at all, I fear."]},
    ]


def records() -> list[object]:
    dice = random.Random(SEED)
    verses = [verse(dice) for _ in range(VERSES)]
    for v in verses[::10]:
        v["paragraphs"] = [p.translate(TRADITIONAL) for p in v["paragraphs"]]
    return [*verses, *faulty(verses)]


def main() -> None:
    lines = [json.dumps(record, ensure_ascii=False) for record in records()]
    Path(__file__).with_name("verses.jsonl").write_text(
        "\n".join([*lines, '{"title": "broken']) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
