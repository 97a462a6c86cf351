"""Which version is the previous one, by the history at hand: histories of a few commits, made here."""

import pathlib
import subprocess

import pytest

from release import previous

FIRST = "0" * 40
"""No commit of any history made here."""


@pytest.fixture
def git(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> "Git":
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "release")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "release@example.com")
    return Git(tmp_path / "repository")


class Git:
    """A repository whose file `version` says the number of its commit."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.count = 0
        root.mkdir()
        self("init", "--quiet", "--initial-branch=main")

    def __call__(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, *tags: str) -> str:
        """One more commit, with these tags; its full name."""
        self.count += 1
        (self.root / "version").write_text(f"{self.count}\n")
        self("add", "version")
        self("commit", "--quiet", "--message", f"{self.count}")
        for tag in tags:
            self("tag", tag)
        return self("rev-parse", "HEAD")


def test_until_there_is_a_release_it_is_the_commit_that_is_named(git: Git) -> None:
    chosen = git.commit()
    git.commit()
    assert previous.find(git.root, chosen) == (chosen[:12], chosen)


def test_the_newest_release_wins(git: Git) -> None:
    """Newest by its number: the order of time or of the alphabet would say v0.9.0."""
    git.commit("v0.9.0")
    newest = git.commit("v0.10.0")
    git.commit("v0.10.1-rc.1", "value", "v1")
    git.commit()
    assert previous.find(git.root, FIRST) == ("v0.10.0", newest)


def test_a_release_is_not_its_own_previous_version(git: Git) -> None:
    older = git.commit("v0.1.0")
    git.commit("v0.2.0")
    assert previous.find(git.root, FIRST) == ("v0.1.0", older)


def test_a_release_of_another_branch_is_none(git: Git) -> None:
    older = git.commit("v0.1.0")
    git("checkout", "--quiet", "-b", "other")
    git.commit("v0.2.0")
    git("checkout", "--quiet", "main")
    git.commit()
    assert previous.find(git.root, FIRST) == ("v0.1.0", older)


def test_a_shallow_clone_is_told_what_to_fetch(git: Git, tmp_path: pathlib.Path) -> None:
    chosen = git.commit()
    git.commit()
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{git.root}", shallow], check=True)
    with pytest.raises(previous.MissingError, match="git fetch --unshallow"):
        previous.find(shallow, chosen)


def test_a_commit_that_is_no_ancestor_is_none(git: Git) -> None:
    git.commit()
    git("checkout", "--quiet", "-b", "other")
    stranger = git.commit()
    git("checkout", "--quiet", "main")
    with pytest.raises(previous.MissingError, match="not in the history"):
        previous.find(git.root, stranger)


def test_an_archive_has_none(git: Git) -> None:
    """Not even where it was unpacked inside another repository."""
    chosen = git.commit()
    unpacked = git.root / "unpacked"
    unpacked.mkdir()
    with pytest.raises(previous.MissingError, match="an unpacked archive has none"):
        previous.find(unpacked, chosen)


def test_the_tree_is_that_of_the_commit_and_the_only_one(git: Git, tmp_path: pathlib.Path) -> None:
    first, second = git.commit(), git.commit()
    (git.root / "version").write_text("not committed")
    folder = tmp_path / "trees"
    for commit, said in ((first, "1\n"), (second, "2\n"), (second, "2\n")):
        tree = previous.export(git.root, commit, folder)
        assert (tree / "version").read_text() == said
        assert [path.name for path in folder.iterdir()] == [commit[:12]]


def test_the_commit_that_is_named_is_in_this_history() -> None:
    """Named in full: a tag or a short name may come to mean another."""
    assert len(previous.UNTIL_RELEASED) == len(FIRST)
    try:
        name, commit = previous.find()
    except previous.MissingError as error:
        pytest.skip(str(error))
    assert commit == previous.UNTIL_RELEASED or name.startswith("v")
