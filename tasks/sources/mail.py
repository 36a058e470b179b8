"""Mails (RFC 5322, MIME): the subject and the part that a reader sees."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from tasks.sources.encoding import decode


def mail(data: bytes) -> dict[str, Any]:
    """title (the subject) and `html` or `text` of a mail.

    Raises:
        ValueError: no header and no body, or a body in no known encoding.
    """
    try:
        message = BytesParser(policy=policy.default).parsebytes(data)
        body = next((part for kind in ("html", "plain") if (part := _part(message, f"text/{kind}"))), None)
        subject = str(message.get("Subject", ""))
        content = body.get_payload(decode=True) if body is not None else b""
    except (LookupError, AttributeError, TypeError, IndexError, RecursionError) as error:  # the parser's own bugs
        raise ValueError(f"a malformed mail: {error}") from error
    if not message.keys():
        raise ValueError("not a mail: it has no header")
    charset = (body.get_content_charset() or "") if body is not None else ""
    text = decode(content or b"", charset)
    kind = "html" if body is not None and body.get_content_type() == "text/html" else "text"
    return {"title": subject, kind: text}


def _part(message: EmailMessage, kind: str) -> EmailMessage | None:
    return next((p for p in message.walk() if p.get_content_type() == kind and not p.is_attachment()), None)
