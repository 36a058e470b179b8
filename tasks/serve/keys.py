"""Who may use the server: API keys from the environment or a file, kept and compared as digests."""

import hashlib
from pathlib import Path

from tasks.errors import StageError
from tasks.serve.settings import Settings

SHORTEST = 16  # characters; shorter keys can be guessed over HTTP


class Keys:
    """The keys of one server. Raises StageError for a file that cannot be read or holds no good key."""

    def __init__(self, settings: Settings):
        keys = [settings.api_key.get_secret_value()] if settings.api_key else []
        keys += _read(settings.api_keys_file) if settings.api_keys_file else []
        self._digests = {_digest(key) for key in keys}

    @property
    def needed(self) -> bool:
        return bool(self._digests)

    def owner(self, authorization: str) -> str | None:
        """Who sends this header, by the digest of the key; None when the key is none of ours."""
        scheme, _, key = authorization.partition(" ")
        digest = _digest(key.strip())
        return digest if scheme.lower() == "bearer" and digest in self._digests else None


def _read(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(f"{path}: cannot be read ({error}); expected a file with one API key per line") from error
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    short = sum(len(key) < SHORTEST for key in keys)
    if short or not keys:
        what = f"{short} keys of less than {SHORTEST} characters" if short else "no key"
        raise StageError(f"{path}: {what}; expected one key per line, such as `openssl rand -hex 24` makes")
    return keys


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
