"""Personal data masked: e-mail, IP, phone, Chinese ID card, bank card, keys and tokens. Pure functions of text.

Numbers count only where their checksum holds, so that ordinary figures stay.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from datetime import date

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])", re.ASCII
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", re.ASCII)
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
    r"|(?<![\w-])sk-[A-Za-z0-9_-]{20,200}|(?<!\w)hf_[A-Za-z]{30,40}(?!\w)"  # OpenAI and alike, Hugging Face
    r"|(?<!\w)xox[abprs]-[A-Za-z0-9-]{10,250}|(?<!\w)AIza[0-9A-Za-z_-]{35}(?!\w)"  # Slack, Google
    r"|(?<!\w)eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,1000}",  # JSON web tokens
    re.DOTALL | re.ASCII,
)
_KEY_SIGNS = ("PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "sk-", "hf_", "xox")
_KEY_SIGNS += ("AIza", "eyJ")  # every key holds one of them
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999, after ISO 7064 MOD 11-2
_CHECKS = "10X98765432"
_DIGITS = re.compile(r"\D")


def mask(text: str) -> tuple[str, Counter[str]]:
    """The text with `<EMAIL>`, `<IP>`, ... in the place of personal data, and how many of each."""
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


def _masker(name: str, holds: Callable[[str], bool], found: Counter[str]) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        if not holds(match[0]):
            return match[0]
        found[name] += 1
        return f"<{name}>"

    return replace


def _always(_text: str) -> bool:
    return True


_ANY_DIGITS = re.compile(r"\d{3}")


def _has_digits(text: str) -> bool:
    return _ANY_DIGITS.search(text) is not None


KINDS: tuple[tuple[str, Callable[[str], bool], re.Pattern[str], Callable[[str], bool]], ...] = (
    ("KEY", lambda text: any(sign in text for sign in _KEY_SIGNS), _KEY, _always),
    ("EMAIL", lambda text: "@" in text, _EMAIL, _always),
    ("ID_CARD", _has_digits, _ID_CARD, id_card_holds),
    ("BANK_CARD", _has_digits, _BANK_CARD, luhn_holds),
    ("PHONE", _has_digits, _PHONE, _always),
    ("IP", lambda text: text.count(".") >= 3, _IPV4, address_is_global),
    ("IP", lambda text: text.count(":") >= 2, _IPV6, address_is_global),
)
