"""Manifests, files and console lines: hostile values become rows or a clear error."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from wbsync.errors import ExtractError
from wbsync.extract.files import build_file_rows
from wbsync.extract.logs import build_log_rows, hash_of, parse_lines
from wbsync.extract.manifests import build_manifest_rows
from wbsync.model import ArtifactPath, RunPath

AT = datetime(2026, 1, 1, tzinfo=UTC)
RUN = RunPath("e", "p", "r")
ARTIFACT = ArtifactPath("e", "p", "QQ==")


def entries(contents: Any) -> list[dict[str, Any]]:
    """Returns the rows of a manifest with these contents, less what is the same in all."""
    body = json.dumps({"version": 1, "contents": contents}).encode()
    table = build_manifest_rows(body, ARTIFACT, AT)
    return list(table.select(table.schema.names[3:-1]).to_pylist())


def test_manifest_entries_are_kept_as_they_are() -> None:
    """Paths are data; what is beyond JSON's and SQL's reach loses no more than it must."""
    contents = {
        "../up": {"digest": "d", "size": "12"},
        "/abs": {"digest": "d", "size": 2**80},
        "\ud800half": {"digest": "\udfff", "size": None, "ref": "\ud800", "extra": {"k": "\ud83d"}},
        "ref": {"digest": "e", "ref": "s3://b/☃", "birthArtifactID": "QQ==", "local_path": "x"},
        "odd": {"digest": "d", "size": 1.9, "ref": 5, "birthArtifactID": [], "extra": {"n": 2**70}},
        "": {"digest": "", "extra": {"etag": "x", "a": float("nan")}},
    }
    found = {row.pop("path"): row for row in entries(contents)}
    blank = {"ref": None, "birth_artifact_id": None, "extra": None}
    assert found == {
        "../up": {"digest": "d", "size_bytes": 12, **blank},
        "/abs": {"digest": "d", "size_bytes": None, **blank},
        "�half": {
            "digest": "�", "size_bytes": None, **blank, "ref": "�", "extra": '{"k":"�"}',
        },
        "ref": {
            "digest": "e", "size_bytes": None, "ref": "s3://b/☃", "birth_artifact_id": "QQ==",
            "extra": None,
        },
        "odd": {"digest": "d", "size_bytes": 1, **blank, "extra": '{"n":1180591620717411303424}'},
        "": {"digest": "", "size_bytes": None, **blank, "extra": '{"a":"NaN","etag":"x"}'},
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'{"contents": []}', b'{"contents": {"a": null}}',
     b'{"contents": {"a": {"digest": 1}}}', b"\xff\xfe", b'{"contents": {"a": {}}}'],
)  # fmt: skip
def test_what_is_no_manifest_is_said(body: bytes) -> None:
    """Anything else is an error of that version, and none of Python's."""
    with pytest.raises(ExtractError, match="its manifest"):
        build_manifest_rows(body, ARTIFACT, AT)


def test_a_file_listed_twice_is_one_row() -> None:
    """Pages that shift bring a file twice; missing facts are NULL."""
    nodes = [
        {"id": "1", "name": "a", "sizeBytes": "5", "updatedAt": "2026-01-02T03:04:05"},
        {"name": "b"},
        {"id": "2", "name": "a", "sizeBytes": None, "updatedAt": "not a time", "md5": "x"},
    ]
    found = build_file_rows({RUN: nodes}, AT).to_pylist()
    assert [(r["name"], r["file_id"], r["size_bytes"], r["md5"]) for r in found] == [
        ("a", "2", None, "x"), ("b", None, None, None),
    ]  # fmt: skip


def test_lines_without_numbers_are_counted() -> None:
    """A server that numbers no line, or some: each has its place, and one place has one line."""
    nodes: list[dict[str, Any]] = [
        {"line": "a"}, {"line": "b", "number": None}, {"number": "7", "line": None, "level": ""},
        {"line": "c", "timestamp": "2026-01-02T03:04:05.123456789"}, {"number": 0, "line": "A"},
    ]  # fmt: skip
    lines = parse_lines(nodes, first=0)
    found = build_log_rows(RUN, lines, AT).to_pylist()
    assert [(r["number"], r["line"], r["level"]) for r in found] == [
        (0, "A", None), (1, "b", None), (7, None, None), (8, "c", None),
    ]  # fmt: skip
    assert found[-1]["timestamp"] == datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)
    assert hash_of(lines) != hash_of(lines[:-1]) != hash_of([])
