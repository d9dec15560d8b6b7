"""Names from a server stay inside the target folder, and content is what was logged."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from wbsync.download import artifacts
from wbsync.download.digests import Digest
from wbsync.download.fetch import Fetched, Fetcher, Item
from wbsync.download.manifest import parse_manifest
from wbsync.download.names import ArtifactName
from wbsync.download.places import place_in
from wbsync.errors import ConfigError, ExtractError, UnsafePathError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOSTILE = [
    "../x", "a/../../x", "/etc/passwd", "a//b", "", ".", "..", "a/.", "C:/x", "c:x", "a\\b",
    "\\\\host\\x", "x\0y", "a/../b",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_path_is_refused(tmp_path: Path, name: str) -> None:
    """Nothing that climbs out, is absolute, or is no plain path gets a place."""
    with pytest.raises(UnsafePathError):
        place_in(tmp_path, name)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A folder that is a link to elsewhere is refused; a link under the final name is replaced."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    with pytest.raises(UnsafePathError):
        place_in(root, "link/x")
    assert not list(outside.iterdir())
    assert place_in(root, "new/größe x") == root / "new" / "größe x"


class Storage:
    """A client that downloads from a dictionary."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self.blobs = blobs
        self.asked: list[str] = []

    async def download(self, url: str, path: Path, **_: Any) -> int:
        """Writes a blob."""
        self.asked.append(url)
        path.write_bytes(self.blobs[url])  # noqa: ASYNC240
        return len(self.blobs[url])


def item(name: str, content: bytes) -> Item:
    """Returns a file as a manifest describes it."""
    digest = Digest("md5", hashlib.md5(content).hexdigest())
    return Item(name, digest, len(content))


@pytest.mark.anyio
async def test_only_what_was_logged_gets_its_name(tmp_path: Path) -> None:
    """Other content, other sizes and hostile names fail one by one; the rest comes."""
    target = tmp_path / "out"
    (tmp_path / "victim").write_bytes(b"mine")
    target.mkdir()
    (target / "taken").symlink_to(tmp_path / "victim")
    long, cached = "x" * 300, "y" * 300
    blobs = {"good": b"good", "bad": b"evil", "taken": b"new!", long: b"long"}
    storage = Storage(blobs)
    fetcher = Fetcher(tmp_path / "w", target, storage, lambda _: None, 4)  # type: ignore[arg-type]

    async def addresses(wanted: Sequence[Item]) -> dict[str, str]:
        return {i.name: i.name for i in wanted if i.name in storage.blobs}

    await fetcher.fetch(
        [item("good", b"good"), item("bad", b"what"), item("../bad", b"evil"),
         item("taken", b"new!"), item("nowhere", b"?"), item(long, b"long")],
        addresses,
    )  # fmt: skip
    assert sorted(fetcher.fetched.downloaded) == ["good", "taken"]
    await fetcher.fetch([item(cached, b"good")], addresses)
    assert sorted(fetcher.fetched.failed) == ["../bad", "bad", "nowhere", long, cached]
    assert "too long" in fetcher.fetched.failed[long]
    assert sorted(p.name for p in target.iterdir()) == ["good", "taken"]
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert not (target / "taken").is_symlink()
    assert storage.asked.count("bad") == 2
    assert not (tmp_path / "bad").exists()


def test_manifests_are_read_as_data() -> None:
    """Digests in either algorithm, references, sizes; what is no manifest is said."""
    md5 = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    body = {
        "version": 1,
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": {
            "a": {"digest": md5, "size": 1, "birthArtifactID": "QQ=="},
            "b": {"digest": md5, "extra": {"alg": "XXH128"}},
            "c": {"digest": "etag", "ref": "s3://bucket/c", "size": 2**40, "local_path": "/etc"},
        },
    }
    manifest = parse_manifest(json.dumps(body).encode())
    a, b, c = manifest.entries
    assert (a.digest, a.size, a.ref) == (Digest("md5", hashlib.md5(b"x").hexdigest()), 1, None)
    assert b.digest is not None
    assert b.digest.algorithm == "xxh128"
    assert (c.digest, c.ref, c.size) == (None, "s3://bucket/c", 2**40)
    for broken in (b"<html>", b"[]", b"{}", b'{"contents": {"a": {}}}'):
        with pytest.raises(ExtractError):
            parse_manifest(broken)


def test_what_no_digest_proves_is_not_taken() -> None:
    """A file of a version whose digest is of an unknown kind fails, and says why."""
    md5 = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    contents = {"a": {"digest": md5}, "b": {"digest": md5, "extra": {"alg": "sha999"}}}
    manifest = parse_manifest(json.dumps({"contents": contents}).encode())
    fetched = Fetched()
    items = artifacts._items({e.path: e for e in manifest.entries}, fetched)
    assert [i.name for i in items] == ["a"]
    assert "cannot check" in fetched.failed["b"]


@pytest.mark.anyio
async def test_a_failed_download_without_a_digest_leaves_nothing(tmp_path: Path) -> None:
    """What came of a file that nobody can go on with is removed, and so is its lock."""
    storage = Storage({"short": b"123", "whole": b"12345"})
    fetcher = Fetcher(tmp_path, tmp_path / "out", storage, lambda _: None, 2)  # type: ignore[arg-type]

    async def addresses(wanted: Sequence[Item]) -> dict[str, str]:
        return {i.name: i.name for i in wanted}

    await fetcher.fetch([Item("short", None, 5), Item("whole", None, 5)], addresses)
    assert fetcher.fetched.failed.keys() == {"short"}
    assert (tmp_path / "out" / "whole").read_bytes() == b"12345"
    assert not list((tmp_path / "blobs" / "partial").iterdir())


def test_digests_prove_content(tmp_path: Path) -> None:
    """Both algorithms; a digest that is none of them proves nothing."""
    import xxhash

    (tmp_path / "f").write_bytes(b"content")
    assert Digest("md5", hashlib.md5(b"content").hexdigest()).matches(tmp_path / "f")
    assert Digest("xxh128", xxhash.xxh128(b"content").hexdigest()).matches(tmp_path / "f")
    assert not Digest("md5", "0" * 32).matches(tmp_path / "f")
    assert Digest.parse("an etag") is None
    assert Digest.parse(base64.b64encode(b"0" * 16).decode(), "sha999") is None
    assert Digest.parse(None) is None


@pytest.mark.parametrize(
    ("text", "environ", "wanted"),
    [
        ("e/p/n:v3", {}, ("e", "p", "n", "v3")),
        ("p/n", {"WANDB_ENTITY": "me"}, ("me", "p", "n", "latest")),
        ("n:best", {"WANDB_ENTITY": "me", "WANDB_PROJECT": "p"}, ("me", "p", "n", "best")),
        ("wandb-registry-m/n:v0", {"WANDB_ENTITY": "me"}, (None, "wandb-registry-m", "n", "v0")),
        ("org/wandb-registry-m/n", {}, ("org", "wandb-registry-m", "n", "latest")),
    ],
)
def test_names(text: str, environ: dict[str, str], wanted: tuple[str | None, ...]) -> None:
    """Names are read as the SDK reads them."""
    name = ArtifactName.parse(text, environ)
    assert (name.entity, name.project, name.collection, name.alias) == wanted


@pytest.mark.parametrize("text", ["", "a/b/c/d", "e//n", "e/p/n:a:b", "e/p/n:a/b", "n"])
def test_what_names_no_artifact(text: str) -> None:
    """It is refused with how to write it."""
    with pytest.raises(ConfigError, match="write ENTITY"):
        ArtifactName.parse(text, {})
