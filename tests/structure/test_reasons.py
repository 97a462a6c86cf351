"""Every reason code has a page, a place in the source that gives it, and a test that gets it. A code without one of them helps nobody."""

import pathlib
import re

import pytest

from metallb_core.domain import reasons

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ROOT / "docs/reasons"
SOURCES = ("core/src", "controller/src", "speaker/src")
TESTS = ("core/tests", "controller/tests", "speaker/tests", "tests")
DEFINITION = "reasons.py"
ALL = [pytest.param(reason, id=reason.code) for reason in reasons.Reason]


def text_of(folders: tuple[str, ...], *, without: str) -> str:
    """All Python source below `folders`, but for files called `without`."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py") if path.name != without)
    return "\n".join(path.read_text() for path in found)


@pytest.fixture(scope="module")
def sources() -> str:
    return text_of(SOURCES, without=DEFINITION)


@pytest.fixture(scope="module")
def tests() -> str:
    return text_of(TESTS, without=pathlib.Path(__file__).name)


def test_codes_and_labels_are_given_once() -> None:
    assert len({reason.code for reason in reasons.Reason}) == len(reasons.Reason)
    assert len({reason.label for reason in reasons.Reason}) == len(reasons.Reason)
    assert all(re.fullmatch("[ABNC][0-9]{3}", reason.code) for reason in reasons.Reason)


@pytest.mark.parametrize("reason", ALL)
def test_a_reason_has_a_page_and_a_line_in_the_index(reason: reasons.Reason) -> None:
    title, _, body = (PAGES / f"{reason.code}.md").read_text().partition("\n")
    assert title == f"# {reason.code} {reason.label}"
    for part in ("## Where you see it", "## What to do"):
        assert part in body, f"{reason.code}.md has no part {part!r}"
    assert f"| [{reason.code}]({reason.code}.md) | {reason.label} |" in (PAGES / "README.md").read_text()


def test_a_page_has_a_reason() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert pages == {reason.code for reason in reasons.Reason}


@pytest.mark.parametrize("reason", ALL)
def test_a_reason_is_given_somewhere(reason: reasons.Reason, sources: str) -> None:
    assert re.search(rf"\bReason\.{reason.name}\b", sources)


@pytest.mark.parametrize("reason", ALL)
def test_a_reason_is_got_by_some_test(reason: reasons.Reason, tests: str) -> None:
    """By the member, or by its code or label as a text of its own."""
    names = rf"\bReason\.{reason.name}\b|\"{reason.code}\"|\"{reason.label}\"|\b{reason.code} {reason.label}\b|\b{reason.code}\b"
    assert re.search(names, tests)
