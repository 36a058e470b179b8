"""Fetching: verified, once, whole or not at all; and errors a person can act on."""

import hashlib
import shutil
import threading
import traceback
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.sources import fetch as fetching
from tasks.sources.fetch import fetch
from tasks.sources.http import get
from tasks.sources.resolvers import RESOLVERS, Unfetched
from tasks.stage import StageError
from tests.tasks.sources.archives import make_tar, make_zip

DATA = b"moonlight before my bed"
PIN = hashlib.sha256(DATA).hexdigest()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def from_test(monkeypatch: pytest.MonkeyPatch):
    """Serve `test:` uris by a given function."""

    def serve(resolver) -> None:
        monkeypatch.setitem(fetching.RESOLVERS, "test", resolver)

    return serve


def written(data: bytes):
    def resolver(name: str, folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return resolver


def failing(*_: object) -> Path:
    raise Unfetched("`client get` ended with status 7\nno route to host")


def test_a_file_is_fetched_once_and_kept_under_its_digest(from_test, tmp_path: Path) -> None:
    from_test(written(DATA))
    path = fetch("poems", "test:a.txt", PIN, tmp_path)
    assert path == tmp_path / PIN / "a.txt" and path.read_bytes() == DATA
    from_test(failing)
    assert fetch("poems", "test:a.txt", PIN, tmp_path) == path
    assert [p.name for p in tmp_path.iterdir()] == [PIN]


def test_a_file_damaged_on_disk_is_fetched_anew(from_test, tmp_path: Path) -> None:
    from_test(written(DATA))
    fetch("poems", "test:a.txt", PIN, tmp_path).write_bytes(b"rotten")
    assert fetch("poems", "test:a.txt", PIN, tmp_path).read_bytes() == DATA


def test_other_bytes_are_refused_and_nothing_is_kept(from_test, tmp_path: Path) -> None:
    from_test(written(b"other"))
    with pytest.raises(StageError, match=f"poems: test:a.txt brought a.txt.*expected {PIN}"):
        fetch("poems", "test:a.txt", PIN, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_failure_says_what_was_tried_and_how_to_supply_the_file(from_test, tmp_path: Path) -> None:
    from_test(failing)
    with pytest.raises(StageError) as error:
        fetch("poems", "test:a.txt", PIN, tmp_path, backoff=0)
    for part in ("poems", "3 attempt", "client get", "no route to host", PIN, str(tmp_path)):
        assert part in str(error.value)


def test_a_file_put_there_by_hand_is_taken_whatever_its_name(from_test, tmp_path: Path) -> None:
    from_test(failing)
    (tmp_path / "notes.txt").write_bytes(b"something else")
    (tmp_path / "from-a-friend.bin").write_bytes(DATA)
    assert fetch("poems", "test:a.txt", PIN, tmp_path).read_bytes() == DATA


def test_an_unknown_scheme_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"gopher:x.*pypi"):
        fetch("poems", "gopher:x", PIN, tmp_path)


@pytest.mark.parametrize("uri", ["hf:no-revision", "ms:no-revision"])
def test_a_malformed_hub_uri_says_the_form(uri: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="OWNER/NAME@REVISION/PATH"):
        fetch("poems", uri, PIN, tmp_path, backoff=0)


@pytest.fixture
def site(tmp_path: Path):
    """A loopback web site over a folder; yields (url, folder)."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()


def test_http_download_keeps_the_bytes_as_they_are(site, tmp_path: Path) -> None:
    url, folder = site
    (folder / "a b.tar.gz").write_bytes(DATA)
    assert get(f"{url}/a%20b.tar.gz?x=1", tmp_path).name == "a b.tar.gz"
    assert (tmp_path / "a b.tar.gz").read_bytes() == DATA


def test_a_missing_page_is_not_asked_for_again(site, tmp_path: Path) -> None:
    with pytest.raises(Unfetched, match="HTTP 404") as error:
        get(f"{site[0]}/nothing", tmp_path)
    assert not error.value.worth_a_retry


@pytest.mark.parametrize(
    "place", ["http://ada:s3cret@{}/nothing?token=s3cret", "http://ada:s3cret@127.0.0.1:9/a?t=s3cret"]
)
def test_no_error_of_a_download_tells_a_secret(site, place: str, tmp_path: Path) -> None:
    url = place.format(site[0].partition("//")[2])
    with pytest.raises(Unfetched) as error:
        get(url, tmp_path)
    assert "s3cret" not in "".join(traceback.format_exception(error.value))


def test_no_error_of_a_fetch_tells_a_secret(from_test, tmp_path: Path) -> None:
    from_test(failing)
    with pytest.raises(StageError, match="test://host/a") as error:
        fetch("poems", "test://ada:s3cret@host/a?t=s3cret", PIN, tmp_path, backoff=0)
    assert "s3cret" not in str(error.value)
    for uri in ("gopher://ada:s3cret@host/a?t=s3cret", "test://ada:s3cret@host/a?t=s3cret"):
        from_test(lambda _, folder: written(b"other")("a", folder))
        with pytest.raises(StageError) as error:
            fetch("poems", uri, PIN, tmp_path, backoff=0)
        assert "s3cret" not in str(error.value)


def make_sdist(folder: Path, trap: Path) -> Path:
    """A source distribution whose setup.py would leave a file behind if it ever ran."""
    setup = f"open({str(trap)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='moon', version='1.0')\n"
    info = b"Metadata-Version: 2.1\nName: moon\nVersion: 1.0\n"
    members = {"moon-1.0/setup.py": setup.encode(), "moon-1.0/PKG-INFO": info, "moon-1.0/data/a.txt": DATA}
    return make_tar(folder / "moon-1.0.tar.gz", members)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    return folder


def test_an_sdist_is_fetched_without_running_its_code(index: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    sdist = make_sdist(index, trap)
    path = fetch("moon", "pypi:moon==1.0#sdist", digest(sdist), tmp_path / "downloads", backoff=0)
    assert path.name == "moon-1.0.tar.gz" and digest(path) == digest(sdist)
    assert not trap.exists()


def test_a_wheel_is_fetched_and_a_missing_one_shows_what_pip_said(index: Path, tmp_path: Path) -> None:
    info = {"METADATA": b"Metadata-Version: 2.1\nName: moon\nVersion: 1.0\n", "RECORD": b""}
    info["WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members = {f"moon-1.0.dist-info/{name}": data for name, data in info.items()}
    wheel = make_zip(index / "moon-1.0-py3-none-any.whl", members)
    assert fetch("moon", "pypi:moon==1.0", digest(wheel), tmp_path / "d", backoff=0).name == wheel.name
    with pytest.raises(StageError, match=r"No matching distribution found for moon==2\.0"):
        fetch("moon", "pypi:moon==2.0", PIN, tmp_path / "d", backoff=0)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not on this machine")
def test_an_npm_package_is_packed_by_npm(tmp_path: Path) -> None:
    manifest = b'{"name": "moon", "version": "1.0.0", "scripts": {"prepack": "exit 9"}}'
    package = make_tar(tmp_path / "moon.tgz", {"package/package.json": manifest, "package/a.txt": DATA})
    (tmp_path / "d").mkdir()
    packed = RESOLVERS["npm"](str(package), tmp_path / "d")
    assert packed.name == "moon-1.0.0.tgz"
