"""The steps of a release; `make release-STEP` calls each.

    python -m release version 0.1.0 --registry ghcr.io/OWNER     write the version and the registry into the tree
    python -m release images 0.1.0 --registry ghcr.io/OWNER      build and push the images of one architecture, by docker buildx
    python -m release index 0.1.0 --registry ghcr.io/OWNER       join the images of all architectures under one name
    python -m release sign 0.1.0 --registry ghcr.io/OWNER        list what the images hold (SPDX), sign image and list, by syft and cosign
    python -m release chart 0.1.0 --registry ghcr.io/OWNER       package the chart and push it as OCI artifact
    python -m release pages 0.1.0 --registry ghcr.io/OWNER       add the chart to the index on the branch gh-pages, for `helm repo add`
    python -m release dry-run 0.1.0 --registry ghcr.io/OWNER     all of it for this machine without uploads, and use it in a lab

Rules:
- The version is the git tag's. It is written into the tree of the release only, never committed. Images and chart share it.
- amd64 and arm64 are built on machines of their own. For arm/v7 some wheels are not published: they are compiled in a container under emulation,
  from sources whose hashes are in the lock file.
- Whoever calls has logged docker and helm in; cosign signs as the workflow that runs it, without a key.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from images import wheels
from release import pages, rehearsal, tree
from tools import build as tools

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("controller", "speaker")
COMPONENTS = ("core", "controller", "speaker")
BASE, PYTHON = "docker.io/library/python:3.13-slim", "3.13"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
ARCHITECTURES = ("amd64", "arm64", "arm/v7")
STEPS = ("version", "images", "index", "sign", "chart", "pages", "dry-run")
VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")


def _run(*command: str | Path) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def _tag(version: str, architecture: str) -> str:
    return f"v{version}-{architecture.replace('/', '')}"


def push_images(version: str, registry: str, architecture: str) -> None:
    """Build and push the images of one architecture, as `v<version>-<architecture>`."""
    for component in COMPONENTS:
        wheels.ensure_project(ROOT, component)
    for image in IMAGES:
        if architecture == MACHINES.get(platform.machine()):
            wheels.ensure_dependencies(ROOT, image, PYTHON)
        else:
            wheels.compile_dependencies(ROOT, image, PYTHON, f"linux/{architecture}")
        command = ["docker", "buildx", "build", f"--platform=linux/{architecture}", "--push", "--provenance=false"]
        command += [f"--build-arg=BASE={BASE}", f"--build-arg=VERSION=v{version}", f"--file={image}/Dockerfile"]
        _run(*command, f"--tag={registry}/{image}:{_tag(version, architecture)}", ".")


def push_index(version: str, registry: str) -> None:
    """Make `v<version>` stand for the images of all architectures."""
    for image in IMAGES:
        parts = [f"{registry}/{image}:{_tag(version, architecture)}" for architecture in ARCHITECTURES]
        _run("docker", "buildx", "imagetools", "create", f"--tag={registry}/{image}:v{version}", *parts)


def sign(version: str, registry: str) -> None:
    """Sign the images and attach what each architecture's image holds, as a signed statement."""
    syft = tools.program("syft")
    (ROOT / "dist").mkdir(exist_ok=True)
    for image in IMAGES:
        _run("cosign", "sign", "--yes", "--recursive", f"{registry}/{image}:v{version}")
        for architecture in ARCHITECTURES:
            name = f"{registry}/{image}:{_tag(version, architecture)}"
            contents = ROOT / "dist" / f"{image}-{version}-{architecture.replace('/', '')}.spdx.json"
            _run(
                syft,
                "scan",
                f"registry:{name}",
                f"--platform=linux/{architecture}",
                "--output",
                f"spdx-json={contents}",
            )
            _run("cosign", "attest", "--yes", "--type=spdxjson", f"--predicate={contents}", name)


def push_chart(version: str, registry: str) -> None:
    """Package the chart into dist/ and push it."""
    helm = tools.program("helm")
    _run(helm, "package", "charts/metallb", "--destination", "dist")
    _run(helm, "push", f"dist/metallb-{version}.tgz", f"oci://{registry}/charts")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m release", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", metavar="STEP", choices=STEPS, help=", ".join(STEPS))
    parser.add_argument("version", metavar="VERSION", help="with or without a v in front, as the git tag has it")
    parser.add_argument("--registry", required=True, help="where images and chart go, such as ghcr.io/owner")
    parser.add_argument(
        "--architecture",
        choices=ARCHITECTURES,
        default=MACHINES.get(platform.machine()),
        help="images: what they are for (default: this machine's, %(default)s)",
    )
    parser.add_argument("--url", default="", help="pages: where the branch gh-pages is served")
    options = parser.parse_args(arguments)
    version, registry = options.version.removeprefix("v"), options.registry.lower()
    if not VERSION.fullmatch(version):
        parser.error(f"{options.version!r} is not a version; write it as 1.2.3")
    match options.step:
        case "version":
            tree.set_version(ROOT, version, registry)
        case "images":
            push_images(version, registry, options.architecture)
        case "index":
            push_index(version, registry)
        case "sign":
            sign(version, registry)
        case "pages":
            if not options.url:
                parser.error("pages needs --url, such as https://OWNER.github.io/REPOSITORY")
            pages.publish(ROOT, ROOT / "dist" / f"metallb-{version}.tgz", options.url)
        case "dry-run":
            rehearsal.rehearse(version, registry)
        case _:
            push_chart(version, registry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
