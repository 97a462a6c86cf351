"""The chart repository on the branch gh-pages: packages and the index that `helm repo add` reads.

- The index grows: what was released before stays, with the time it was released at.
- A package that is there already is not replaced: a version means one thing for ever.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from release import tree
from tools import build as tools

BRANCH = "gh-pages"


def add(folder: Path, package: Path, url: str) -> None:
    """Put `package` into the repository in `folder`, which may be empty. Raises ReleaseError if its version is there."""
    target = folder / package.name
    if target.exists():
        raise tree.ReleaseError(f"{package.name} was released before; a version is never replaced")
    fresh = folder / ".new"
    fresh.mkdir()
    try:
        shutil.copy(package, fresh)
        index = folder / "index.yaml"
        command: list[str | Path] = [tools.program("helm"), "repo", "index", fresh, "--url", url]
        if index.exists():
            command += ["--merge", index]
        subprocess.run(command, check=True)
        shutil.move(fresh / "index.yaml", index)
        shutil.move(fresh / package.name, target)
    finally:
        shutil.rmtree(fresh)


def publish(root: Path, package: Path, url: str) -> None:
    """Add `package` on the branch and push it; the branch is made if there is none. Raises ReleaseError, CalledProcessError."""
    folder = root / "build" / "pages"

    def git(*arguments: str | Path, cwd: Path = root) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=cwd, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()

    shutil.rmtree(folder, ignore_errors=True)
    git("worktree", "prune")
    if git("ls-remote", "--heads", "origin", BRANCH):
        git("fetch", "origin", BRANCH)
        start = "FETCH_HEAD"
    else:
        start = git("commit-tree", git("mktree"), "-m", "An empty chart repository")
    git("worktree", "add", "--force", "-B", BRANCH, folder, start)
    try:
        add(folder, package, url)
        git("add", "--all", cwd=folder)
        git("commit", "--message", f"Release {package.stem}", cwd=folder)
        git("push", "origin", BRANCH, cwd=folder)
    finally:
        git("worktree", "remove", "--force", folder)
