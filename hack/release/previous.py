"""The version before the one that is checked out, made anew from the project's history: what an upgrade starts from.

- It is the newest release among the ancestors: the highest tag such as v1.2.3, but for a tag of the very commit that is checked out. Until there
  is one it is `UNTIL_RELEASED`.
- All of it is of then: chart, definitions, and images that its own `hack/images` builds out of its own lock files. Only downloads are shared.
- A version is built once, below `build/previous/`; only the newest one is kept there.
- Its images and its chart have names of their own, so nothing of it is taken for this version.
- Where the history is not at hand there is none, and `MissingError` says how to get it. Nothing is fetched: that is the user's to decide.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from demo import bundle

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("controller", "speaker")
UNTIL_RELEASED = "b0da85e5b6dffabc9ed0131bf802b26685d2cb79"
"""The last commit that announces over layer 2 alone, and starts: those that follow it on the way to BGP do not. It has three definitions instead
of nine, no webhook, no conditions on Services, other rights of both programs, and a chart with fewer values; so what an upgrade can
change, an upgrade from it changes."""
TAG = "previous"
"""Tag of its images, beside those of this version in a node."""
CHART_VERSION = "0.0.0"
"""Version its chart is packaged under, whatever it was then: below the one that this checkout's chart is packaged under."""
RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
BUILD_SECONDS = 900.0


class MissingError(Exception):
    """There is no previous version here. The message says why, and what to do about it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """A version built from the history. `name`: its tag, or the commit; `archives`: its images, as `bundle.REPOSITORY/NAME:previous`."""

    name: str
    tree: Path
    archives: tuple[Path, ...]

    @property
    def chart(self) -> Path:
        return self.tree / "charts/metallb"


def git(root: Path, *arguments: str) -> str:
    """What git says in the repository that is `root` and no folder above it. Raises MissingError with its complaint."""
    # Named like this, it is used also where it belongs to another user, as the checkout in a container often does.
    command = ["git", "--git-dir", str(root / ".git"), *arguments]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingError("the previous version is made from the history, and git is not installed") from None
    if done.returncode:
        raise MissingError(done.stderr.strip() or f"git {arguments[0]} failed")
    return done.stdout.strip()


def find(root: Path = ROOT, until_released: str = UNTIL_RELEASED) -> tuple[str, str]:
    """Name and full commit of the previous version. Raises MissingError."""
    advice = (
        "`git fetch --unshallow` (and `--tags`) brings the history into a shallow clone; an unpacked archive has none"
    )
    try:
        tags = git(root, "tag", "--list", "v*", "--merged", "HEAD", "--no-contains", "HEAD").split()
        numbered = {tuple(map(int, found.groups())): tag for tag in tags if (found := RELEASE.fullmatch(tag))}
        name = numbered[max(numbered)] if numbered else until_released
        commit = git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        git(root, "merge-base", "--is-ancestor", commit, "HEAD")
    except MissingError as error:
        raise MissingError(f"the previous version is not in the history at hand ({error}); {advice}") from None
    return (name if numbered else commit[:12]), commit


def export(root: Path, commit: str, folder: Path) -> Path:
    """The tree of `commit`, in `folder` under the commit's name; other trees there go. Raises MissingError, CalledProcessError."""
    tree = folder / commit[:12]
    if tree.is_dir():
        return tree
    shutil.rmtree(folder, ignore_errors=True)
    temporary = folder / ".new"
    temporary.mkdir(parents=True)
    packed = folder / ".tar"
    git(root, "archive", f"--output={packed}", "--format=tar", commit)
    subprocess.run(["tar", "--extract", f"--file={packed}", f"--directory={temporary}"], check=True)
    packed.unlink()
    temporary.rename(tree)
    return tree


def build(root: Path = ROOT) -> Previous:
    """Bring the previous version up to date below `build/previous`. Raises MissingError, CalledProcessError (noted: what the build said)."""
    name, commit = find(root)
    tree = export(root, commit, root / "build" / "previous")
    for image in NAMES:
        # Downloads whose hashes were checked; a stamp in each folder says for which lock file they are.
        source, target = root / "build/wheels" / image, tree / "build/wheels" / image
        if source.is_dir() and not target.exists():
            shutil.copytree(source, target)
    command = [sys.executable, "-m", "images", *NAMES, "--repository", bundle.REPOSITORY, "--tag", TAG]
    # The ceiling keeps git from naming this checkout's commit as the one that the images are of.
    settings = {"PYTHONPATH": str(tree / "hack"), "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        error.add_note(done.stderr.strip())
        raise error
    return Previous(name=name, tree=tree, archives=tuple(tree / "build/images" / f"{image}.tar" for image in NAMES))
