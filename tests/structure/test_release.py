"""What a release writes: the version into the tree, and the fragments into the changelog."""

import pathlib
import shutil

import pytest

from changelog import build as changelog
from release import __main__ as release
from release import tree as trees

ROOT = pathlib.Path(__file__).parents[2]
WRITTEN = (
    "core/src/metallb_core/version.py",
    "charts/metallb/Chart.yaml",
    "charts/metallb/values.yaml",
)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in WRITTEN:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_version_goes_where_it_is_read(tree: pathlib.Path) -> None:
    trees.set_version(tree, "1.2.3", "registry.example.com/lb")
    version, chart, values = ((tree / name).read_text() for name in WRITTEN)
    assert '__version__ = "1.2.3"\n' in version
    assert "\nversion: 1.2.3\nappVersion: v1.2.3\n" in chart
    assert "    version: 0.0.0-dev\n" in chart, "the subchart's version is not that of the release"
    for image in release.IMAGES:
        assert f"    repository: registry.example.com/lb/{image}\n" in values
    assert "quay.io/metallb/" not in values


def test_a_tree_without_a_version_is_named(tree: pathlib.Path) -> None:
    (tree / WRITTEN[1]).write_text("name: metallb\n")
    with pytest.raises(trees.ReleaseError, match=r"Chart\.yaml"):
        trees.set_version(tree, "1.2.3", "registry.example.com/lb")


@pytest.mark.parametrize("version", ["1.2", "latest", "1.2.3.4", "1.2.3 4"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(SystemExit):
        release.main(["chart", version, "--registry", "registry.example.com/lb"])


@pytest.fixture
def log(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d/README.md").write_text("how")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog.MARK}\n## 0.1.0 (2026-01-01)\n")
    return tmp_path


def test_fragments_become_a_section_and_go(log: pathlib.Path) -> None:
    (log / "changelog.d/b.added.md").write_text("More.\n")
    (log / "changelog.d/a.fixed.md").write_text("Less,\nof the bad.\n")
    changelog.release(log, "0.2.0", "2026-02-01")
    assert (log / "CHANGELOG.md").read_text() == (
        f"# Changelog\n\n{changelog.MARK}\n## 0.2.0 (2026-02-01)\n\n### Added\n\n- More.\n\n### Fixed\n\n- Less,\n  of the bad.\n"
        "\n## 0.1.0 (2026-01-01)\n"
    )
    assert [path.name for path in (log / "changelog.d").iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        pytest.param("a.md", "x", "NAME.KIND.md", id="no-kind"),
        pytest.param("a.improved.md", "x", "one of added", id="unknown-kind"),
        pytest.param("a.added.md", " \n", "empty", id="empty"),
    ],
)
def test_a_bad_fragment_changes_nothing(log: pathlib.Path, name: str, text: str, told: str) -> None:
    (log / "changelog.d" / name).write_text(text)
    before = (log / "CHANGELOG.md").read_text()
    with pytest.raises(changelog.FragmentError, match=told):
        changelog.release(log, "0.2.0", "2026-02-01")
    assert (log / "CHANGELOG.md").read_text() == before


def test_the_fragments_there_are_can_be_released() -> None:
    assert changelog.section("next", changelog.fragments(ROOT / "changelog.d"))
