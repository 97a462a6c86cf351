"""Build the controller, speaker and web images as OCI archives, with buildah and without a container engine.

    python -m images                                       all three into build/images/, on a local Debian base
    python -m images speaker --repository quay.io/metallb --tag v0.1.0
    python -m images --base docker.io/library/python:3.13-slim --python 3.13
    python -m images --wheels-only                         only fill build/wheels, for a build by another tool

Rules:
- Needs root: buildah runs with `chroot` isolation, which wants no user namespace, no network and no runtime.
- An image whose inputs did not change is not built again; the inputs are in `build/images/<image>.key`.
- Layers are cached by buildah in the tools' cache; a change of code alone rebuilds only the last small layers.
- An archive names its image in full, and appears under its name only when it is complete.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from images import base, wheels
from tools import build as tools_build

ROOT = Path(__file__).resolve().parent.parent.parent
OUTPUT = ROOT / "build" / "images"
BUILDAH_SECONDS = 900.0
LOCAL_BASE = "localhost/metallb-lab/base"


class ImageError(Exception):
    """An image could not be built. The message has buildah's last words."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image: its Dockerfile, what it copies, and the project's components whose wheels it holds."""

    name: str
    dockerfile: str
    components: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


IMAGES = {
    image.name: image
    for image in (
        Image(name="controller", dockerfile="controller/Dockerfile", components=("core", "controller")),
        Image(name="speaker", dockerfile="speaker/Dockerfile", components=("core", "speaker")),
        Image(name="web", dockerfile="hack/images/web/Dockerfile", sources=("hack/images/web/web.py",)),
    )
}
WEB_REFERENCE = "localhost/metallb-lab/web:1"


def cache() -> Path:
    return tools_build.cache_root() / "images"


def archive(name: str) -> Path:
    """Where the archive of an image is."""
    return OUTPUT / f"{name}.tar"


def _buildah(*arguments: str | Path) -> str:
    storage = cache() / "storage"
    command: list[str | Path] = ["buildah", "--root", storage, "--runroot", cache() / "run"]
    command += ["--storage-driver=overlay", *arguments]
    result = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=BUILDAH_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if result.returncode != 0:
        raise ImageError(f"buildah {arguments[0]}: {(result.stderr or result.stdout).strip()[-2000:]}")
    return result.stdout.strip()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def ensure_base(*, fresh: bool = False) -> str:
    """The local base image in buildah's storage; returns its reference."""
    reference = f"{LOCAL_BASE}:{base.key()}"
    tree = base.ensure(cache(), fresh=fresh)
    if fresh or not _buildah("images", "--quiet", "--filter", f"reference={reference}"):
        container = _buildah("from", "scratch")
        try:
            _buildah("add", "--quiet", container, tree, "/")
            _buildah(
                "config", "--cmd=python3", "--env=PATH=/usr/local/bin:/usr/bin:/bin", "--env=LANG=C.UTF-8", container
            )
            _buildah("commit", "--quiet", "--disable-compression", container, reference)
        finally:
            _buildah("rm", container)
    return reference


def _inputs(image: Image, arguments: Sequence[str]) -> str:
    paths = [ROOT / image.dockerfile, *(ROOT / source for source in image.sources)]
    for component in image.components:
        paths += [ROOT / component / "pyproject.toml", ROOT / component / "src"]
    if image.components:
        paths.append(ROOT / "requirements" / f"{image.name}.txt")
    return hashlib.sha256(f"{wheels.digest(paths, ROOT)} {arguments!r}".encode()).hexdigest()


def build_image(
    name: str, reference: str, *, base_reference: str | None = None, python: str = base.PYTHON, fresh: bool = False
) -> bool:
    """Bring `build/images/<name>.tar` up to date; returns whether it had to be built.

    `base_reference` None takes the local Debian base; `python` is the base's version (`3.11`).
    """
    image = IMAGES[name]
    target = archive(name)
    with _locked():
        key = _inputs(image, [reference, base_reference or base.key(), python])
        file = OUTPUT / f"{name}.key"
        if not fresh and target.exists() and file.exists() and file.read_text() == key:
            return False
        if image.components:
            wheels.ensure_dependencies(ROOT, name, python)
            for component in image.components:
                wheels.ensure_project(ROOT, component)
        base_reference = base_reference or ensure_base(fresh=fresh)
        command: list[str | Path] = ["build", "--quiet", "--isolation=chroot", "--layers", "--format=oci"]
        command += [f"--build-arg=BASE={base_reference}", f"--tag={reference}", f"--file={image.dockerfile}"]
        if image.components:
            command += [f"--build-arg=VERSION={reference.rpartition(':')[2]}", f"--build-arg=REVISION={_revision()}"]
            command += [f"--ignorefile={image.dockerfile}.dockerignore"]
        _buildah(*command, ".")
        OUTPUT.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        temporary = OUTPUT / f".{name}.tar"
        temporary.unlink(missing_ok=True)
        _buildah("push", "--quiet", reference, f"oci-archive:{temporary}:{reference}")
        temporary.rename(target)
        file.write_text(key)
    return True


def _revision() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    result = subprocess.run(
        [git, "rev-parse", "--verify", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    return result.stdout.strip() if result.returncode == 0 else "unknown"


def size(name: str) -> int:
    """Bytes of an image's archive. buildah compresses the layers in it; unpacked they take about three times that."""
    return archive(name).stat().st_size


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: one line for each image, with its size and the seconds it took."""
    parser = argparse.ArgumentParser(
        prog="python -m images", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="IMAGE", help=f"{', '.join(IMAGES)}; all of them when left out")
    parser.add_argument(
        "--repository",
        default="quay.io/metallb",
        help="prefix of the controller's and speaker's names (default: %(default)s)",
    )
    parser.add_argument("--tag", default="dev", help="their tag (default: %(default)s)")
    parser.add_argument("--base", help="a base image to pull, instead of the local one made from Debian packages")
    parser.add_argument(
        "--python", default=base.PYTHON, help="the Python version of the base image (default: %(default)s)"
    )
    parser.add_argument("--fresh", action="store_true", help="make the local base and the images anew")
    parser.add_argument("--wheels-only", action="store_true", help="only fill build/wheels")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in IMAGES]
    if unknown:
        parser.error(f"no such image: {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    try:
        for name in options.names or IMAGES:
            started = time.monotonic()
            if options.wheels_only:
                if IMAGES[name].components:
                    wheels.ensure_dependencies(ROOT, name, options.python)
                    for component in IMAGES[name].components:
                        wheels.ensure_project(ROOT, component)
                continue
            reference = WEB_REFERENCE if name == "web" else f"{options.repository}/{name}:{options.tag}"
            built = build_image(
                name, reference, base_reference=options.base, python=options.python, fresh=options.fresh
            )
            words = f"built in {time.monotonic() - started:.1f} s" if built else "is up to date"
            print(f"{reference} {words}, {size(name) / 1e6:.0f} MB: {archive(name).relative_to(ROOT)}", flush=True)
    except (ImageError, base.BaseError, wheels.WheelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
