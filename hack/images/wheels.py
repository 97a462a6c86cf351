"""The wheels that go into an image: downloaded ones with their hashes checked, and the project's own.

Rules:
- `build/wheels/<image>/` holds exactly the image's locked dependencies, `requirements.txt` (the lock file) and
  `pip.zip` (pip's wheel, which runs without being installed); `build/wheels/project/` the project's own wheels.
- pip checks every hash when it downloads, and again inside the image.
- They are fetched for the interpreter of the base image, which need not be the one that runs this.
- A folder is made anew whenever its inputs changed, and appears under its name only when it is complete.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# glibc of the oldest base that is promised (Debian 12) and older ones; pip wants each named.
GLIBC = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")
PIP_SECONDS = 900.0
# Wheels carry file times; a fixed one makes the same source the same bytes. Zip files begin in 1980.
EPOCH = "315532800"


class WheelError(Exception):
    """pip failed. The message has what it said."""


def _pip(arguments: Sequence[str]) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    result = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PIP_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise WheelError(f"pip {arguments[0]}: {(result.stderr or result.stdout).strip()[-2000:]}")


def digest(paths: Sequence[Path], root: Path) -> str:
    """One hash over files and trees: names relative to `root`, and contents. Bytecode does not count."""
    total = hashlib.sha256()
    for path in paths:
        files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        for file in files:
            if "__pycache__" not in file.parts:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                total.update(f"{file.relative_to(root)}\0{content}\n".encode())
    return total.hexdigest()


def _replace(new: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)


def ensure_dependencies(root: Path, image: str, python: str) -> bool:
    """Fill `build/wheels/<image>`. Returns whether anything had to be fetched."""
    lock = root / "requirements" / f"{image}.txt"
    target = root / "build" / "wheels" / image
    stamp = f"{digest([lock], root)} cp{python} {platform.machine()}\n"
    if (target / ".stamp").exists() and (target / ".stamp").read_text() == stamp:
        return False
    temporary = target.with_name(f".{image}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    machine = platform.machine()
    platforms = [f"--platform=manylinux_{version}_{machine}" for version in GLIBC]
    platforms.append(f"--platform=manylinux2014_{machine}")
    wanted = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]
    _pip(["download", *wanted, "--require-hashes", f"--requirement={lock}", f"--dest={temporary}"])
    # The development lock file pins pip with its hash; the image's own does not need it at run time.
    pin = temporary / "pip.txt"
    pin.write_text(_pinned(root / "requirements" / "dev.txt", "pip"))
    _pip(
        [
            "download",
            "--only-binary=:all:",
            "--no-deps",
            "--require-hashes",
            f"--requirement={pin}",
            f"--dest={temporary}",
        ]
    )
    pin.unlink()
    next(temporary.glob("pip-*.whl")).rename(temporary / "pip.zip")
    shutil.copy(lock, temporary / "requirements.txt")
    (temporary / ".stamp").write_text(stamp)
    _replace(temporary, target)
    return True


def compile_dependencies(root: Path, image: str, python: str, target_platform: str) -> None:
    """Fill `build/wheels/<image>` for another architecture, in a container of it under emulation (docker with binfmt).

    What has no wheel for it is compiled from the source whose hash the lock file has. The list inside the folder then names the hashes of the
    wheels that came of it. Raises WheelError.
    """
    target = root / "build" / "wheels" / image
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    inside = f"build/wheels/{image}"
    pin = target / "pip.txt"
    pin.write_text(_pinned(root / "requirements" / "dev.txt", "pip"))
    # The full image has the compiler and the headers that the slim one lacks.
    docker = ["docker", "run", "--rm", f"--platform={target_platform}", f"--volume={root}:/src", "--workdir=/src"]
    docker.append(f"docker.io/library/python:{python}")
    wanted = ["pip", "--disable-pip-version-check", "--quiet", "wheel", "--require-hashes", f"--wheel-dir={inside}"]
    for command in ([*wanted, f"--requirement=requirements/{image}.txt"], [*wanted, f"--requirement={inside}/pip.txt"]):
        result = subprocess.run([*docker, *command], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise WheelError(f"{target_platform}: {(result.stderr or result.stdout).strip()[-2000:]}")
    pin.unlink()
    next(target.glob("pip-*.whl")).rename(target / "pip.zip")
    (target / "requirements.txt").write_text(hashes_of(target))


def hashes_of(folder: Path) -> str:
    """A list of requirements that names exactly the wheels in `folder`, with their hashes."""
    lines = []
    for wheel in sorted(folder.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name.replace('_', '-').lower()}=={version} --hash=sha256:{digest}\n")
    return "".join(lines)


def _pinned(lock: Path, package: str) -> str:
    """The lines of one package in a lock file: its version and its hashes."""
    lines = lock.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith(f"{package}=="):
            end = number
            while lines[end].endswith("\\"):
                end += 1
            return "\n".join(lines[number : end + 1]) + "\n"
    raise WheelError(f"{lock.name} does not pin {package}")


def ensure_project(root: Path, component: str) -> None:
    """Build the wheel of `core`, `controller` or `speaker` into `build/wheels/project`, unless its sources are the same."""
    target = root / "build" / "wheels" / "project"
    target.mkdir(parents=True, exist_ok=True)
    sources = [root / component / "pyproject.toml", root / component / "src", root / "core/src/metallb_core/version.py"]
    stamp = digest(sources, root)
    file = target / f".{component}.stamp"
    name = f"metallb_{component}-*.whl"
    if file.exists() and file.read_text() == stamp and any(target.glob(name)):
        return
    for old in target.glob(name):
        old.unlink()
    _pip(["wheel", "--no-deps", "--no-build-isolation", "--no-index", f"--wheel-dir={target}", str(root / component)])
    file.write_text(stamp)
