"""The steps of a release: `make release-version`, `release-images`, `release-index`, `release-chart` and `release-dry-run` call this.

    python -m release version 0.1.0 --registry ghcr.io/OWNER     write the version and the registry into the tree
    python -m release images 0.1.0 --registry ghcr.io/OWNER      build and push this machine's images, by docker buildx
    python -m release index 0.1.0 --registry ghcr.io/OWNER       join the images of all architectures under one name
    python -m release chart 0.1.0 --registry ghcr.io/OWNER       package and push the chart
    python -m release dry-run 0.1.0 --registry ghcr.io/OWNER     all of it for this machine without uploads, and use it in a lab

Rules:
- The version is the git tag's. It is written into the tree of the release only, never committed.
- Each architecture is built on a machine of its own: wheels are fetched for the machine that runs this, and emulation is not needed.
- Whoever calls has logged docker and helm in.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from images import wheels
from release import rehearsal, tree
from tools import build as tools

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("controller", "speaker")
COMPONENTS = ("core", "controller", "speaker")
BASE, PYTHON = "docker.io/library/python:3.13-slim", "3.13"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")


def _run(*command: str | Path) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def push_images(version: str, registry: str) -> None:
    """Build and push the images of this machine's architecture, as `v<version>-<architecture>`."""
    architecture = ARCHITECTURES[platform.machine()]
    for component in COMPONENTS:
        wheels.ensure_project(ROOT, component)
    for image in IMAGES:
        wheels.ensure_dependencies(ROOT, image, PYTHON)
        command = ["docker", "buildx", "build", f"--platform=linux/{architecture}", "--push", "--provenance=false"]
        command += [f"--build-arg=BASE={BASE}", f"--build-arg=VERSION=v{version}", f"--file={image}/Dockerfile"]
        _run(*command, f"--tag={registry}/{image}:v{version}-{architecture}", ".")


def push_index(version: str, registry: str) -> None:
    """Make `v<version>` stand for the images of all architectures."""
    for image in IMAGES:
        name = f"{registry}/{image}:v{version}"
        parts = [f"{name}-{architecture}" for architecture in ARCHITECTURES.values()]
        _run("docker", "buildx", "imagetools", "create", f"--tag={name}", *parts)


def push_chart(version: str, registry: str) -> None:
    """Package the chart into dist/ and push it."""
    helm = tools.program("helm")
    _run(helm, "package", "charts/metallb", "--destination", "dist")
    _run(helm, "push", f"dist/metallb-{version}.tgz", f"oci://{registry}/charts")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m release", description="the steps of a release")
    parser.add_argument("step", choices=("version", "images", "index", "chart", "dry-run"))
    parser.add_argument("version", help="with or without a v in front, as the git tag has it")
    parser.add_argument("--registry", required=True, help="where images and chart go, such as ghcr.io/owner")
    options = parser.parse_args(arguments)
    version, registry = options.version.removeprefix("v"), options.registry.lower()
    if not VERSION.fullmatch(version):
        parser.error(f"{options.version!r} is not a version; write it as 1.2.3")
    match options.step:
        case "version":
            tree.set_version(ROOT, version, registry)
        case "images":
            push_images(version, registry)
        case "index":
            push_index(version, registry)
        case "dry-run":
            rehearsal.rehearse(version, registry)
        case _:
            push_chart(version, registry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
