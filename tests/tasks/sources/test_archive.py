"""Archives are read in place; what is unsafe, broken or too large is set aside with its reason."""

import random
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources.archive import Bad, Entry, matcher, walk
from tests.tasks.sources.archives import GOOD, MAKERS, make_deb, make_folder, make_tar, make_zip, write_deb


def everything(_name: str) -> bool:
    return True


def contents(path: Path) -> dict[str, bytes]:
    return {e.name: e.read() for e in walk(path, everything) if isinstance(e, Entry)}


def faults(path: Path) -> list[Bad]:
    read = [e if isinstance(e, Bad) else e.read() for e in walk(path, everything)]
    return [found for found in read if isinstance(found, Bad)]


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_of_archive_gives_its_members(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path / name, GOOD)
    assert contents(path) == GOOD
    assert faults(path) == []


@pytest.mark.parametrize("mode", ["w:", "w:bz2", "w:xz"])
def test_tar_in_every_compression(mode: str, tmp_path: Path) -> None:
    assert contents(make_tar(tmp_path / "x.tar", GOOD, mode)) == GOOD


def test_a_plain_file_is_one_member_known_by_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "my poems.v2.jsonl"
    path.write_bytes(b"{}")
    assert contents(path) == {"content.v2.jsonl": b"{}"}


def test_a_cut_off_archive_gives_what_it_can_and_says_where_it_ends(tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "x.tar", {f"{i}.txt": bytes(600) + bytes([i]) for i in range(9)}, "w:")
    whole.write_bytes(whole.read_bytes()[:6000])
    assert 0 < len(contents(whole)) < 9
    assert any("truncated" in bad.reason or "corrupt" in bad.reason for bad in faults(whole))


@pytest.mark.parametrize("cut", [20, 200, 3000])
def test_a_cut_off_tgz_is_never_silent(cut: int, tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tgz", {f"{i}.txt": bytes(str(i) * 4000, "ascii") * 9 for i in range(40)})
    path.write_bytes(path.read_bytes()[:cut])
    assert faults(path)


def test_garbage_amid_a_tar_is_told(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", GOOD, "w:")
    data = bytearray(path.read_bytes())
    data[1024:1536] = b"garbage!" * 64
    path.write_bytes(data)
    assert faults(path)


def test_a_flipped_byte_in_a_zip_spoils_that_member_only(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a.txt": b"a" * 5000, "b.txt": b"b" * 5000})
    data = bytearray(path.read_bytes())
    data[data.index(b"a.txt") + 8] ^= 0xFF
    path.write_bytes(data)
    assert [bad.member for bad in faults(path)] == ["a.txt"]
    assert any(e.name == "b.txt" and e.read() == b"b" * 5000 for e in walk(path, everything) if isinstance(e, Entry))


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "a/../../evil", "C:/evil", "a\\..\\evil", "."])
@pytest.mark.parametrize("make", [make_zip, make_tar, make_deb])
def test_paths_that_leave_the_archive_are_refused(make, name: str, tmp_path: Path) -> None:
    path = make(tmp_path / "x", {name: b"evil", "good.txt": b"good"})
    found = contents(path)
    assert found.get("good.txt") == b"good"
    assert [*found] == ["good.txt"]
    assert [bad.reason for bad in faults(path)] == ["unsafe path"]


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("passwords")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    folder = make_folder(tmp_path / "f", {"a.txt": b"a"})
    (folder / "b.txt").symlink_to("/etc/passwd")
    assert [bad.member for bad in faults(path)] == ["passwords"]
    assert [bad.member for bad in faults(folder)] == ["b.txt"]


def test_bombs_are_refused_unread(tmp_path: Path) -> None:
    zeros = bytes(100 << 20)
    for path in (make_zip(tmp_path / "x.zip", {"bomb": zeros}), make_tar(tmp_path / "x.tgz", {"bomb": zeros})):
        assert [bad.reason for bad in faults(path) if "bomb" in bad.reason]
        assert contents(path) == {}


def test_encrypted_members_are_told(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a.txt": b"secret"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    path.write_bytes(data)
    assert [bad.reason for bad in faults(path)] == ["encrypted member"]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", b"\x1f\x8b not gzip"])
def test_what_only_looks_like_an_archive_does_not_crash(damage: bytes, tmp_path: Path) -> None:
    for name in ("x.zip", "x.tgz"):
        (tmp_path / name).write_bytes(damage)
        assert contents(tmp_path / name) or faults(tmp_path / name)


names = st.lists(st.text("ab.", min_size=1, max_size=4), min_size=1, max_size=4).map("/".join)


@given(names)
def test_globs_keep_to_folders_unless_doubled(name: str) -> None:
    assert matcher(("**",))(name)
    assert bool(matcher(("*",))(name)) == ("/" not in name)
    assert matcher((name,))(name)
    assert matcher(("**/" + name.rpartition("/")[2],))(name)
    assert not matcher(())(name)


def test_a_zip_member_larger_than_it_says_is_corrupt(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a.txt": b"a" * 5000})
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    assert len(faults(path)) == 1 and zipfile.is_zipfile(path)


def test_a_deb_larger_than_a_read_buffer_is_read_whole(tmp_path: Path) -> None:
    noise = random.Random(5)
    members = {f"usr/share/doc/{i}.bin": noise.randbytes(70_000) for i in range(6)}
    found = {entry.name: entry.read() for entry in walk(make_deb(tmp_path / "x.deb", members), lambda _name: True)}
    assert found == members


def test_a_zip_with_a_name_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"é.txt": b"a" * 50, "b.txt": b"b" * 50})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xfe"))
    assert contents(path) == {}
    assert [bad.reason.partition(":")[0] for bad in faults(path)] == ["corrupt archive"]


@pytest.mark.parametrize("make", [make_tar, make_folder])
def test_a_name_that_is_not_utf_8_is_shown_so_that_it_can_be_written(make, tmp_path: Path) -> None:
    path = make(tmp_path / "x", {"\udcff.txt": b"text", "b.txt": b"b"})
    assert contents(path) == {"%FF.txt": b"text", "b.txt": b"b"}


def zst_deb(path: Path, data: bytes) -> Path:
    return write_deb(path, "data.tar.zst", data)


def test_a_deb_packed_by_zstandard_is_read(tmp_path: Path) -> None:
    inner = make_tar(tmp_path / "x.tar", GOOD, "w:").read_bytes()
    assert contents(zst_deb(tmp_path / "x.deb", zstandard.ZstdCompressor().compress(inner))) == GOOD


@pytest.mark.parametrize("damage", ["flipped", "cut", "bomb"])
def test_a_damaged_deb_packed_by_zstandard_is_told(damage: str, tmp_path: Path) -> None:
    inner = make_tar(tmp_path / "x.tar", {"a.bin": random.Random(3).randbytes(90_000)}, "w:").read_bytes()
    data = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(90 << 20) if damage == "bomb" else inner)
    if damage == "flipped":
        data = data[:4] + b"\xff\xff\xff" + data[7:]
    elif damage == "cut":
        data = data[: len(data) // 2]
    path = zst_deb(tmp_path / "x.deb", data)
    assert contents(path) == {}
    (bad,) = faults(path)
    assert bad.reason.startswith("corrupt archive") and (damage != "bomb" or "bomb" in bad.reason)
