"""What a release writes: the version into the tree, and the fragments into the changelog."""

import pathlib
import shutil
import subprocess

import pytest
import yaml

from changelog import build as changelog
from images import wheels
from release import __main__ as release
from release import pages
from release import tree as trees
from tools import build as tools

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


def package(folder: pathlib.Path, version: str) -> pathlib.Path:
    """A chart that is nothing but its name and version, packaged."""
    chart = folder / "metallb"
    chart.mkdir(exist_ok=True)
    (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: metallb\nversion: {version}\n")
    helm = tools.program("helm")
    subprocess.run([helm, "package", chart, "--destination", folder], check=True, capture_output=True)
    return folder / f"metallb-{version}.tgz"


def test_the_index_grows(tmp_path: pathlib.Path) -> None:
    repository = tmp_path / "pages"
    repository.mkdir()
    for version in ("0.1.0", "0.2.0"):
        pages.add(repository, package(tmp_path, version), "https://charts.example.com")
    index = yaml.safe_load((repository / "index.yaml").read_text())
    assert [entry["version"] for entry in index["entries"]["metallb"]] == ["0.2.0", "0.1.0"]
    assert index["entries"]["metallb"][1]["urls"] == ["https://charts.example.com/metallb-0.1.0.tgz"]
    assert sorted(path.name for path in repository.iterdir()) == [
        "index.yaml",
        "metallb-0.1.0.tgz",
        "metallb-0.2.0.tgz",
    ]


def test_a_version_is_never_replaced(tmp_path: pathlib.Path) -> None:
    repository = tmp_path / "pages"
    repository.mkdir()
    made = package(tmp_path, "0.1.0")
    pages.add(repository, made, "https://charts.example.com")
    before = (repository / "index.yaml").read_text()
    with pytest.raises(trees.ReleaseError, match="never replaced"):
        pages.add(repository, made, "https://charts.example.com")
    assert (repository / "index.yaml").read_text() == before


def test_the_branch_is_made_and_grows(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "release")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "release@example.com")
    origin, clone = tmp_path / "origin.git", tmp_path / "clone"

    def git(*arguments: str | pathlib.Path) -> str:
        return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout

    git("init", "--quiet", "--bare", origin)
    git("init", "--quiet", clone)
    git("-C", clone, "remote", "add", "origin", origin)
    git("-C", clone, "commit", "--quiet", "--allow-empty", "--message", "first")
    for version in ("0.1.0", "0.2.0"):
        pages.publish(clone, package(tmp_path, version), "https://charts.example.com")
    assert git("-C", origin, "ls-tree", "--name-only", "gh-pages").split() == [
        "index.yaml",
        "metallb-0.1.0.tgz",
        "metallb-0.2.0.tgz",
    ]
    assert git("-C", origin, "log", "--format=%s", "gh-pages").splitlines() == [
        "Release metallb-0.2.0",
        "Release metallb-0.1.0",
        "An empty chart repository",
    ]


def test_compiled_wheels_are_named_with_their_hashes(tmp_path: pathlib.Path) -> None:
    (tmp_path / "msgspec-0.22.0-cp313-cp313-linux_armv7l.whl").write_bytes(b"a")
    (tmp_path / "typing_extensions-4.16.0-py3-none-any.whl").write_bytes(b"b")
    (tmp_path / "pip.zip").write_bytes(b"c")
    assert wheels.hashes_of(tmp_path) == (
        "msgspec==0.22.0 --hash=sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n"
        "typing-extensions==4.16.0 --hash=sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\n"
    )
