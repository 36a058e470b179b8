"""Personal data is masked where it is valid, and ordinary text and figures stay."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.documents import draft
from tasks.corpus.pii import id_card_holds, luhn_holds, mask

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
around = st.sampled_from(["", " ", "，", "：", "号码", "(", "\n", "是"])
digits = st.text("0123456789", min_size=1, max_size=25)


@st.composite
def id_cards(draw: st.DrawFn) -> str:
    born = draw(st.dates(date(1930, 1, 1), date(2020, 12, 31)))
    body = f"{draw(st.integers(110000, 659999))}{born:%Y%m%d}{draw(st.integers(0, 999)):03d}"
    return body + "10X98765432"[sum(w * int(d) for w, d in zip(WEIGHTS, body, strict=True)) % 11]


@st.composite
def bank_cards(draw: st.DrawFn) -> str:
    body = draw(st.sampled_from("3456")) + draw(st.text("0123456789", min_size=14, max_size=14))
    doubled = sum(sum(divmod(2 * int(d), 10)) for d in body[::-1][::2]) + sum(int(d) for d in body[::-1][1::2])
    return body + str(-doubled % 10)


def words(length: int) -> st.SearchStrategy[str]:
    return st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=length)


emails = st.builds(
    lambda a, b, c: f"{a}@{b}.{c}", words(20), words(12), st.sampled_from(["com", "cn", "co.uk", "example"])
)
phones = st.builds(lambda a, b: f"1{a}{b:09d}", st.integers(3, 9), st.integers(0, 10**9 - 1))
addresses = st.ip_addresses(v=4).filter(lambda a: a.is_global).map(str)


@pytest.mark.parametrize(
    ("kind", "values"),
    [("EMAIL", emails), ("ID_CARD", id_cards()), ("PHONE", phones), ("IP", addresses), ("BANK_CARD", bank_cards())],
)
def test_it_is_masked_wherever_it_stands(kind: str, values: st.SearchStrategy[str]) -> None:
    @given(values, around, around)
    def check(value: str, before: str, after: str) -> None:
        if kind == "BANK_CARD" and len(set(value)) == 1:
            return
        masked, found = mask(f"前文{before}{value}{after}后文")
        assert masked == f"前文{before}<{kind}>{after}后文"
        assert found == {kind: 1}

    check()


@pytest.mark.parametrize("address", ["2606:4700::1111", "2001:4860:4860::8888", "2A00:1450:4001:81B:0:0:0:200e"])
def test_addresses_of_ipv6_are_masked(address: str) -> None:
    assert mask(f"from [{address}]:443") == ("from [<IP>]:443", {"IP": 1})


@given(id_cards(), st.integers(0, 17), st.integers(1, 9))
def test_an_id_card_with_one_wrong_digit_does_not_hold(card: str, place: int, more: int) -> None:
    wrong = "0" if card[place] == "X" else str((int(card[place]) + more) % 10)
    assert id_card_holds(card)
    assert not id_card_holds(card[:place] + wrong + card[place + 1 :])


@given(bank_cards(), st.integers(0, 15), st.integers(1, 9))
def test_a_bank_card_with_one_wrong_digit_does_not_hold(card: str, place: int, more: int) -> None:
    assert luhn_holds(card) or len(set(card)) == 1
    assert not luhn_holds(card[:place] + str((int(card[place]) + more) % 10) + card[place + 1 :])


@given(st.text(max_size=200))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once, _ = mask(text)
    assert mask(once)[0] == once


@given(st.text(st.characters(exclude_characters="@"), max_size=200).filter(lambda t: not any(c.isdigit() for c in t)))
def test_text_without_digits_and_at_signs_stays(text: str) -> None:
    if ":" not in text and "." not in text and "_" not in text and "-" not in text:
        assert mask(text) == (text, {})


def test_what_is_told_of_a_document_is_masked_and_counted_too() -> None:
    fields = {"text": "Nothing here.", "author_email": "ada@site.example", "title": "打电话13812345678", "n": 5}
    one = draft(fields | {"url": "https://site.example/a?token=a1b2c3d4e5f6a7b8"})
    told = {"author_email": "<EMAIL>", "title": "打电话<PHONE>", "n": 5, "url": "https://site.example/a?token=<KEY>"}
    assert json.loads(one.metadata) == told and one.url.endswith("?token=a1b2c3d4e5f6a7b8")
    assert {name: one.scores[name] for name in ("masked", "masked_email", "masked_phone", "masked_key")} == {
        "masked": 3, "masked_email": 1, "masked_phone": 1, "masked_key": 1,
    }  # fmt: skip
    assert json.loads(draft(fields, mask_personal_data=False).metadata)["author_email"] == "ada@site.example"


@pytest.mark.parametrize(
    "secret",
    ["AKIA" + "A1" * 8, "ghp_" + "aB3" * 12, "sk-" + "0a1b2c3d" * 4, "sk-proj-" + "aB3dE5gH" * 5 + "-x_y",
     "xoxb-1234567890-abcdef",
     "AIza" + "aB3_-" * 7,
     "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLi4u", "hf_" + "aB" * 17, "glpat-" + "aB3_" * 5,
     "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----"],
)  # fmt: skip
def test_keys_and_tokens_are_masked(secret: str) -> None:
    assert mask(f"key = {secret}\n") == ("key = <KEY>\n", {"KEY": 1})


@pytest.mark.parametrize(
    ("before", "secret", "after"),
    [("AWS_SECRET_ACCESS_KEY=", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLE1", "\n"), ("AWS_SECRET=", "aB3/" * 10, "\n"),
     ("Authorization: Bearer ", "aB3." * 8 + "==", "\n"), ("password=", "hunter2", "&user=ada"),
     ('"password": "', "hunter2!x", '",'), ("密码：", "abc123456", "，不要告诉别人"),
     ("PGPASSWORD=", "s3cret", " psql"),
     ("https://host.example/?token=", "a1b2c3d4e5f6a7b8", "&x=1"), ("api_key = '", "a1b2c3d4e5f6a7b8", "'")],
)  # fmt: skip
def test_secrets_are_masked_by_their_label(before: str, secret: str, after: str) -> None:
    assert mask(before + secret + after) == (f"{before}<KEY>{after}", {"KEY": 1})


@pytest.mark.parametrize(
    ("address", "masked"),
    [("张三@例子.中国", "<EMAIL>"), ("abc@例子.公司", "<EMAIL>"), ("李四@site.example", "<EMAIL>"),
     ("发到abc@例子.中国吧", "发到<EMAIL>吧"), ("见，王五@site.cn。", "见，<EMAIL>。")],
)  # fmt: skip
def test_addresses_with_chinese_characters_are_masked(address: str, masked: str) -> None:
    assert mask(address) == (masked, {"EMAIL": 1})


@pytest.mark.parametrize("between", ["", "\nMIIabc-def\n", "-----BEGIN CERTIFICATE-----"])
def test_keys_without_an_end_take_no_time(between: str) -> None:
    """Looking for the end of each anew would take hours."""
    text = f"-----BEGIN RSA PRIVATE KEY-----{between}" * 60_000
    assert mask(text) == (text, {})


@pytest.mark.parametrize(
    "text",
    ["version 1.2.3.4.5", "at 127.0.0.1 and 192.168.0.1 and 10.1.2.3", "12:30:45", "3.14159265358979", "2023-01-15",
     "ISBN 978-7-302-51165-6", "110105194912310021", "4111111111111112", "1+1=2", "a@b", "std::vector::begin", "::1",
     "0.13812345678", "第13812号", "sk-short",
     "sk-learn-is-a-great-library-for-ml", "sk-learn-version-0-24-2-on-linux", "password=None", "password: see below",
     "password = getpass1(prompt)", "token=$TOKEN1234567890", "tokenizer = tokenizer1234567890", "token: token_2",
     "Bearer of the good news from far away", "他@我.微博", "secret: the 1st of many",
     "1234567890123456789012345", "192.0.2.1", "x[::2]", "digits[1::2]", "row[::-1]", "::add", "a[2000::5]", "::beef",
     "add::1", "fe80::1:2:3", "2001:db8::1", "dead:beef:cafe::1"],
)  # fmt: skip
def test_ordinary_figures_stay(text: str) -> None:
    assert mask(text)[0] == text


@pytest.mark.parametrize(
    "number",
    ["13812345678", "+86 138-1234-5678", "0086 13812345678", "010-62345678", "0755-8123456", "(415) 555-2671",
     "415-555-2671", "+44 20 7946 0958", "+1 415 555 2671"],
)  # fmt: skip
def test_phone_numbers_in_their_usual_forms(number: str) -> None:
    assert mask(f"电话{number}。") == ("电话<PHONE>。", {"PHONE": 1})
