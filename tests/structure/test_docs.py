"""The documents say what is so: links lead somewhere, commands exist, tests that are named are there, and nothing names whoever wrote them.

Documents are the Markdown files and the workflows of the repository, not what was built or installed below it.
"""

import os
import pathlib
import re
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOT_OURS = {".venv", ".git", "build", "dist", "node_modules"}
TESTS = ("core/tests", "controller/tests", "speaker/tests", "tests")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MAKE = re.compile(r"^ *make ((?:[a-z][a-z-]*|[A-Z]+=\S+)(?: (?:[a-z][a-z-]*|[A-Z]+=\S+))*)", re.MULTILINE)
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
# A place for indexes and mirrors is in these variables; the public ones may be named.
INDEXES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "GOPROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
)
PUBLIC = {"localhost", "127.0.0.1"}


def found(*patterns: str) -> list[pathlib.Path]:
    """Files of the repository itself that match, sorted."""
    return sorted(
        path for pattern in patterns for path in ROOT.glob(pattern) if not NOT_OURS & set(path.relative_to(ROOT).parts)
    )


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


DOCUMENTS = found("**/*.md")
WORKFLOWS = found(".github/**/*.yaml", ".github/**/*.yml")


def code_of(text: str) -> str:
    """What stands as code: fenced blocks and `spans`. Prose may use the word make as a word."""
    fenced = re.findall(r"^ *```[a-z]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join(re.sub(r"\s#.*", "", line) for block in [*fenced, *spans] for line in block.splitlines())


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_relative_links_lead_somewhere(path: pathlib.Path) -> None:
    for link in LINK.findall(path.read_text()):
        target, _, anchor = urllib.parse.unquote(link).partition("#")
        if urllib.parse.urlsplit(target).scheme:
            continue
        place = path.parent / target if target else path
        assert place.exists(), f"{name(path)} links to {link}"
        if anchor:
            assert anchor in anchors(place.read_text()), f"{name(path)} links to {link}"


@pytest.mark.parametrize("path", [*DOCUMENTS, *WORKFLOWS], ids=name)
def test_make_targets_exist(path: pathlib.Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    text = path.read_text()
    code = code_of(text) if path.suffix == ".md" else "\n".join(re.findall(r"run: (.*)", text))
    for words in MAKE.findall(code):
        wanted = {word for word in words.split() if "=" not in word}
        assert wanted <= targets, f"{name(path)} says `make {words}`"


@pytest.mark.parametrize("path", [*DOCUMENTS, *WORKFLOWS], ids=name)
def test_nothing_names_the_machine_it_was_written_on(path: pathlib.Path) -> None:
    text = path.read_text()
    hosts = {
        host
        for variable in INDEXES
        for url in re.split(r"[\s,|]+", os.environ.get(variable, "") + " " + os.environ.get(variable.lower(), ""))
        if (host := urllib.parse.urlsplit(url).hostname or "")
    }
    for word in [*sorted(hosts - PUBLIC - {""}), "/work/", "/root/", "/home/", "/tmp/"]:
        assert word not in text, f"{name(path)} names {word}"


def test_tests_that_are_named_exist() -> None:
    text = (ROOT / "docs/compatibility.md").read_text()
    sources = {path: path.read_text() for folder in TESTS for path in (ROOT / folder).rglob("test_*.py")}
    named = re.findall(r"`(test_\w+)(?:\[([^\]]+)\])?`", text)
    assert len(named) > 50
    for function, case in named:
        holding = [source for source in sources.values() if re.search(rf"def {function}\(", source)]
        assert holding, f"there is no {function}"
        # Cases whose names are computed are not looked for.
        assert not case or any(f'id="{case}"' in source or "ids=" in source for source in holding), (
            f"{function} has no {case}"
        )
    for suite, title in re.findall(r"`(\w+_test\.yaml)`: ([^;|\n]+?)(?=;| \|)", text):
        assert f"  - it: {title}\n" in (ROOT / "charts/metallb/tests" / suite).read_text(), f"{suite} has no {title!r}"
