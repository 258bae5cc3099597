"""Whether a person has changed a generated file is seen in the file itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi_tiers.pipelines.seal import is_edited, is_same, sealed

TEXT = "name: CI\n\non:\n  push:\n"


def test_the_checksum_stands_in_comments_before_the_text() -> None:
    first, second, *rest = sealed(TEXT).splitlines()
    assert first.startswith("# Made by tiers")
    assert "sha256:" in second
    assert "\n".join(rest) + "\n" == TEXT
    assert len(first) <= 100
    assert sealed(TEXT) == sealed(TEXT)


@pytest.mark.parametrize(
    "edited",
    [
        sealed(TEXT).replace("push", "pull_request"),
        sealed(TEXT) + "# mine\n",
        "# mine\n" + sealed(TEXT),
        sealed(TEXT).replace("sha256:", "sha256:0"),
        sealed(TEXT).partition("\n")[2],
        TEXT,
        "",
    ],
)
def test_an_edit_is_seen(edited: str) -> None:
    assert is_edited(edited)


@pytest.mark.parametrize(
    "kept",
    [
        sealed(TEXT),
        sealed(TEXT).replace("\n", "\r\n"),
        sealed(TEXT).rstrip("\n"),
        sealed(TEXT) + "\n",
    ],
)
def test_what_git_and_editors_do_to_lines_is_no_edit(kept: str) -> None:
    assert not is_edited(kept)
    assert is_same(kept, sealed(TEXT))


@given(st.text(), st.text())
def test_every_text_is_its_own(one: str, other: str) -> None:
    assert not is_edited(sealed(one))
    assert is_same(one, other) == is_same(sealed(one), sealed(other))
    assert is_same(one, other) or is_edited(sealed(one)[: -len(one) or None] + other)
