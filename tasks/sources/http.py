"""Download one file over HTTPS (plain HTTP only from this machine itself)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.sources.unfetched import Unfetched

LARGEST = 64 << 30  # bytes
PLAIN = {"accept-encoding": "identity"}  # the bytes of the file itself, as pinned
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def get(url: str, folder: Path) -> Path:
    """The file behind a url, whole. Raises Unfetched; a 4xx answer other than 408 and 429 is not worth a retry."""
    import httpx

    file = folder / (Path(unquote(urlsplit(url).path)).name or "download")
    try:
        with httpx.stream("GET", url, headers=PLAIN, follow_redirects=True, timeout=60) as answer:
            _allow(answer.url.scheme, answer.url.host)
            answer.raise_for_status()
            written = 0
            with file.open("wb") as sink:
                for chunk in answer.iter_raw(1 << 20):
                    written += len(chunk)
                    if written > LARGEST:
                        raise Unfetched(f"GET {url}: larger than {LARGEST} bytes", worth_a_retry=False)
                    sink.write(chunk)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        worth_a_retry = status >= 500 or status in {408, 429}
        raise Unfetched(f"GET {url}: HTTP {status}", worth_a_retry) from None  # its words hold the url's secrets
    except httpx.HTTPError as error:
        raise Unfetched(f"GET {url}: {type(error).__name__}: {error}") from None
    return file


def _allow(scheme: str, host: str) -> None:
    if scheme != "https" and host not in LOOPBACK:
        raise Unfetched(f"{scheme}://{host}: refused, not encrypted; expected https", worth_a_retry=False)
