"""`make release-dry-run`: everything that a release does, but for uploads and signatures.

- The release's tree is a copy with the version written in; the checkout stays as it is.
- Images for this machine, built by buildah; their lists of contents (SBOM, SPDX) by syft; the chart, its index, the manifests.
- What was made is then used: a cluster in network namespaces, `helm repo add` of the index, `helm install`, a Service that answers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from demo import repository, steps, workload
from images import build as images
from lab import cluster as clusters
from release import tree
from tools import build as tools

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("controller", "speaker")
LAB = "release"
COMPRESSED_AT_MOST = 80_000_000


def _run(*command: str | Path, cwd: Path, **environment: str) -> None:
    subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL)


def make(version: str, registry: str) -> Path:
    """Build everything into `dist/`; returns the release's tree. Prints one line for each thing."""
    dist, work = ROOT / "dist", ROOT / "build" / "release"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    tree.copy(ROOT, work)
    tree.set_version(work, version, registry)
    if (ROOT / "build/wheels").is_dir():
        # Downloads whose hashes were checked; their stamps say whether they are still the right ones.
        shutil.copytree(ROOT / "build/wheels", work / "build/wheels")
    arguments = ["--repository", registry, "--tag", f"v{version}"]
    _run(sys.executable, "-m", "images", *NAMES, *arguments, cwd=work, PYTHONPATH=str(work / "hack"))
    syft = tools.program("syft")
    for name in NAMES:
        archive = work / "build/images" / f"{name}.tar"
        contents = dist / f"{name}-{version}.spdx.json"
        _run(syft, "scan", f"oci-archive:{archive}", "--output", f"spdx-json={contents}", "--quiet", cwd=work)
        packages = len(json.loads(contents.read_text())["packages"])
        size = archive.stat().st_size
        told = f"{size / 1e6:.0f} MB compressed, {packages} packages listed in {contents.name}"
        print(f"  image {registry}/{name}:v{version}: {told}", flush=True)
        if size > COMPRESSED_AT_MOST:
            raise tree.ReleaseError(f"the {name} image is above {COMPRESSED_AT_MOST / 1e6:.0f} MB")
    helm = tools.program("helm")
    _run(helm, "package", work / "charts/metallb", "--destination", dist, cwd=work)
    _run(sys.executable, "-m", "generate", cwd=work, PYTHONPATH=f"{work / 'hack'}:{work / 'core/src'}")
    for manifest in sorted((work / "config/manifests").glob("*.yaml")):
        shutil.copy(manifest, dist)
        print(f"  manifest {manifest.name}", flush=True)
    print(f"  chart metallb-{version}.tgz", flush=True)
    return work


def use(work: Path, version: str) -> str:
    """Install what was made, in a cluster of its own; returns what a Service answered."""
    helm = tools.program("helm")
    images.build_image("web", images.WEB_REFERENCE)
    archives = [*(work / "build/images" / f"{name}.tar" for name in NAMES), images.archive("web")]
    lab = clusters.Cluster(LAB)
    try:
        lab.up(nodes=2, archives=archives)
        plan = workload.Plan(image_tag=f"v{version}", pools=(str(lab.plan.pool_ipv4), str(lab.plan.pool_ipv6)))
        with (
            tempfile.TemporaryDirectory(prefix="metallb-release-") as home,
            repository.packaged(helm, ROOT / "dist") as url,
        ):
            do = steps.Steps(lab, helm, Path(home))
            do.install(url, workload.values(plan))
            lab.kubectl("apply", "--filename", "-", input=workload.manifests())
            found = do.wait_addresses(workload.WEB, 2)
            do.wait_rollout(workload.WEB)
            return do.fetch(found[0])
    finally:
        lab.down()


def rehearse(version: str, registry: str) -> None:
    """All of it. Raises ReleaseError, CalledProcessError, StepError."""
    started = time.monotonic()
    print(f"release {version}, without uploads", flush=True)
    work = make(version, registry)
    print(f"  made in {time.monotonic() - started:.0f} s; installing it", flush=True)
    answer = use(work, version)
    print(f"  installed from its own index; a Service answered: {answer}", flush=True)
    for each in sorted((ROOT / "dist").iterdir()):
        print(f"  dist/{each.name:<40} {each.stat().st_size:>10,} bytes", flush=True)
    print(f"  done in {time.monotonic() - started:.0f} s", flush=True)
