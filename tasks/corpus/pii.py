"""Personal data masked: e-mail, IP, phone, Chinese ID card, bank card, keys and tokens. Pure functions of text.

Numbers count only where their checksum holds, so that ordinary figures stay.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from datetime import date

Holds = Callable[[re.Match[str]], bool]
_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])", re.ASCII
)
_HAN = "\u3400-\u9fff"
_HAN_EMAIL = re.compile(
    rf"(?:(?<![{_HAN}])[{_HAN}]{{1,16}}|(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{{1,64}})@"
    rf"(?:[A-Za-z0-9{_HAN}-]{{1,63}}\.){{1,8}}(?:[A-Za-z]{{2,24}}(?![A-Za-z0-9_-])|[中国國公司网络網絡政务務香港台湾灣]{{2}})"
)
_HAN_BESIDE_AT = re.compile(rf"@[^\s@]{{0,80}}[{_HAN}]|[{_HAN}]@")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", re.ASCII)
_GIVEN_OUT = ipaddress.ip_network("2000::/3")
_FEWEST_GROUPS = 3  # of an IPv6 address, not counting the zeros that :: stands for
_PHONE = re.compile(
    r"(?<![\w.+-])(?:(?:\+|00)?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?![\w-])"  # mainland mobile
    r"|(?<![\w.-])0\d{2,3}-\d{7,8}(?![\w-])"  # mainland landline
    r"|(?<![\w+])\+[1-9]\d{0,2}[- .](?:\(?\d{1,5}\)?[- .]?){2,4}\d{2,4}(?!\w)"  # E.164 with separators
    r"|(?<![\w(-])\(?[2-9]\d{2}\)?[- .][2-9]\d{2}[-.]\d{4}(?![\w-])",  # North America
    re.ASCII,
)
_ID_CARD = re.compile(r"(?<![0-9A-Za-z])[1-9]\d{5}(?:18|19|20)\d{2}[01]\d[0-3]\d{4}[\dXx](?![0-9A-Za-z])", re.ASCII)
_BANK_CARD = re.compile(r"(?<![\w.-])[3-6]\d{3}(?:(?:[ -]\d{4}){3}(?:[ -]?\d{1,3})?|\d{9,15})(?![\w-])", re.ASCII)
_KEY = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----[^-]*+(?:-(?!----)[^-]*+)*+-----END (?:[A-Z]+ )?PRIVATE KEY-----"
    r"|(?<!\w)(?:AKIA|ASIA)[0-9A-Z]{16}(?!\w)"  # AWS
    r"|(?<!\w)gh[pousr]_[A-Za-z0-9]{36,255}(?!\w)|(?<!\w)github_pat_\w{60,255}"  # GitHub
    r"|(?<![\w-])sk-(?=(?:[A-Za-z0-9]{0,40}[_-]){0,12}?(?=[A-Za-z]{0,15}\d)[A-Za-z0-9]{16})[\w-]{20,200}"  # OpenAI
    r"|(?<!\w)hf_[A-Za-z]{30,40}(?!\w)|(?<!\w)glpat-[\w-]{20,255}"  # Hugging Face, GitLab
    r"|(?<!\w)xox[abprs]-[A-Za-z0-9-]{10,250}|(?<!\w)AIza[0-9A-Za-z_-]{35}(?!\w)"  # Slack, Google
    r"|(?<![\w-])eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,1000}"  # JSON web tokens
    r"|(?<=Bearer )(?=[\w.~+/-]{0,1000}\d)[\w.~+/-]{20,1000}={0,2}",  # RFC 6750, section 2.1
    re.DOTALL | re.ASCII,
)
_KEY_SIGNS = ("PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "sk-", "hf_", "xox")
_KEY_SIGNS += ("AIza", "eyJ", "glpat-", "Bearer ")  # every key holds one of them
_VALUE = re.compile(r"[=:：][ \t]?[\"']?([A-Za-z0-9_.~!@#^+/|-]{6,200}+={0,2}+)(?![\w(%$\[{])", re.ASCII)
_LABEL = re.compile(
    r"(?:(pass(?:word|wd)|pwd|密码|口令)|token|secret|(?:api|access|secret|private)[_-]?key)[\"']?[ \t]*$",
    re.IGNORECASE,
)
_LABEL_SIGNS = (
    "assw",
    "ASSW",
    "pwd",
    "PWD",
    "密码",
    "口令",
    "oken",
    "OKEN",
    "ecret",
    "ECRET",
    "_key",
    "-key",
    "ikey",
    "Key",
    "KEY",
)
_LABEL_SEEN = 24  # characters before a value in which its label stands
_SHORTEST_TOKEN = 12  # characters; a password may be shorter
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999, after ISO 7064 MOD 11-2
_CHECKS = "10X98765432"
_DIGITS = re.compile(r"\D")


def mask(text: str) -> tuple[str, Counter[str]]:
    """The text with `<EMAIL>`, `<IP>`, ... in the place of personal data, and how many of each of NAMES."""
    found: Counter[str] = Counter()
    for name, present, pattern, holds in KINDS:
        if present(text):
            text = pattern.sub(_masker(name, holds, found), text)
    return text, found


def id_card_holds(number: str) -> bool:
    """Whether an 18-character number is a Chinese ID card's: a real birthday and the right check character."""
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number, strict=False))
    return _CHECKS[total % 11] == number[17].upper()


def luhn_holds(number: str) -> bool:
    """Whether the digits of a number end in Luhn's check digit (ISO/IEC 7812-1)."""
    digits = [int(d) for d in reversed(_DIGITS.sub("", number))]
    doubled = (sum(divmod(2 * d, 10)) for d in digits[1::2])
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def address_is_global(address: str) -> bool:
    """Whether it is an IP address of the internet; private, reserved and documentation ones name nobody."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _is_ipv6(found: re.Match[str]) -> bool:
    """Whether it is an address that is given out (RFC 4291, 2.4) and says more than `::2`, a slice in Python, does."""
    groups = [group for group in found[0].split(":") if group]
    return (
        len(groups) >= _FEWEST_GROUPS and address_is_global(found[0]) and ipaddress.IPv6Address(found[0]) in _GIVEN_OUT
    )


def _is_secret(value: re.Match[str]) -> bool:
    """Whether a value is labelled as a secret and looks like one: letters and digits, not a word or a name."""
    label = _LABEL.search(value.string[max(0, value.start() - _LABEL_SEEN) : value.start()])
    return (
        label is not None
        and (label[1] is not None or len(value[1]) >= _SHORTEST_TOKEN)
        and any(map(str.isdigit, value[1]))
        and any(map(str.isalpha, value[1]))
    )


def _masker(name: str, holds: Holds, found: Counter[str]) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        if not holds(match):
            return match[0]
        found[name] += 1
        start, stop = (at - match.start() for at in match.span(match.lastindex or 0))
        return f"{match[0][:start]}<{name}>{match[0][stop:]}"

    return replace


def _always(_match: re.Match[str]) -> bool:
    return True


def _of_text(holds: Callable[[str], bool]) -> Holds:
    return lambda match: holds(match[0])


_ANY_DIGITS = re.compile(r"\d{3}")


def _has_digits(text: str) -> bool:
    return _ANY_DIGITS.search(text) is not None


KINDS: tuple[tuple[str, Callable[[str], bool], re.Pattern[str], Holds], ...] = (
    ("KEY", lambda text: any(sign in text for sign in _KEY_SIGNS), _KEY, _always),
    ("KEY", lambda text: any(sign in text for sign in _LABEL_SIGNS), _VALUE, _is_secret),
    ("EMAIL", lambda text: "@" in text, _EMAIL, _always),
    ("EMAIL", lambda text: "@" in text and _HAN_BESIDE_AT.search(text) is not None, _HAN_EMAIL, _always),
    ("ID_CARD", _has_digits, _ID_CARD, _of_text(id_card_holds)),
    ("BANK_CARD", _has_digits, _BANK_CARD, _of_text(luhn_holds)),
    ("PHONE", _has_digits, _PHONE, _always),
    ("IP", lambda text: text.count(".") >= 3, _IPV4, _of_text(address_is_global)),
    ("IP", lambda text: text.count(":") >= 2, _IPV6, _is_ipv6),
)
NAMES = tuple(dict.fromkeys(name for name, *_ in KINDS))
