"""The file of excluded links, as MetalLB's chart and its users write it."""

import pathlib

import pytest

from metallb_speaker.layer2 import exclusions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", (), id="empty"),
        pytest.param("announcedInterfacesToExclude:\n", (), id="key alone"),
        pytest.param("announcedInterfacesToExclude: []\n", (), id="empty list"),
        pytest.param("announcedInterfacesToExclude: null", (), id="null"),
        pytest.param(
            "announcedInterfacesToExclude:\n- ^docker.*\n- ^cbr.*\n- ^lo$\n",
            ("^docker.*", "^cbr.*", "^lo$"),
            id="block",
        ),
        pytest.param(
            "---\n# links\nannouncedInterfacesToExclude:\n  - '^veth.*'\n  - \"cali\\\\d\" # pods\n",
            ("^veth.*", "cali\\d"),
            id="indented, quoted, commented",
        ),
        pytest.param(
            "announcedInterfacesToExclude: [\"^docker.*\", '^a,b', ^lo$]", ("^docker.*", "^a,b", "^lo$"), id="flow"
        ),
        pytest.param('{"announcedInterfacesToExclude": ["^a", "b$"]}', ("^a", "b$"), id="JSON"),
        pytest.param("other:\n- x\nannouncedInterfacesToExclude:\n- y\n", ("y",), id="another key beside"),
    ],
)
def test_parse(text: str, expected: tuple[str, ...]) -> None:
    assert exclusions.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("- ^docker", id="list without a key"),
        pytest.param("announcedInterfacesToExclude: ^docker", id="scalar"),
        pytest.param("announcedInterfacesToExclude: [a,\n b]", id="flow over two lines"),
        pytest.param("announcedInterfacesToExclude:\n- 'open\n", id="open quote"),
        pytest.param('announcedInterfacesToExclude:\n- "open\n', id="open double quote"),
        pytest.param("nonsense", id="no mapping"),
        pytest.param("{nonsense", id="broken JSON"),
        pytest.param('{"announcedInterfacesToExclude": "x"}', id="JSON scalar"),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(exclusions.ExclusionError):
        exclusions.parse(text)


def test_bad_expression_is_named() -> None:
    with pytest.raises(exclusions.ExclusionError, match=r"'\('"):
        exclusions.compile_patterns(("^a", "("))


def test_load(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "excludel2.yaml"
    assert exclusions.load(path) == ()
    path.write_text("announcedInterfacesToExclude:\n- ^lo$\n")
    assert exclusions.load(path) == ("^lo$",)
    path.write_text("announcedInterfacesToExclude:\n- '('\n")
    with pytest.raises(exclusions.ExclusionError):
        exclusions.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(exclusions.ExclusionError, match="cannot be read"):
        exclusions.load(path)
