"""Bring image archives into nodes, and make the one image every pod needs.

Rules: a node pulls nothing; what a pod names was imported before. An archive is an OCI archive whose index names the
image in full (`quay.io/metallb/speaker:v1`), as `buildah push ... oci-archive:` writes it. The `pause` image is
written here byte for byte, since it is one file: no image builder is needed to start a cluster.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path

from lab import node, processes

IMPORT_SECONDS = 300.0
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """This machine in the terms of image manifests. Raises KeyError for one that Kubernetes was not tried on."""
    return ARCHITECTURES[platform.machine()]


def import_archive(target: node.Node, archive: Path) -> None:
    """Import an OCI archive into a node's containerd and unpack it. Imported already is success and quick."""
    result = subprocess.run(
        ["ctr", "--address", str(target.runtime_socket), "--namespace", "k8s.io", "images", "import", str(archive)],
        capture_output=True,
        text=True,
        timeout=IMPORT_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise processes.ProcessError(f"{archive.name} into {target.name}: {result.stderr.strip()}")


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def write_single_file_image(archive: Path, reference: str, program: Path) -> None:
    """Write an OCI archive of one static executable at `/<name>`, run as user 65535. Same input, same bytes."""
    layer = _tar({program.name: (program.read_bytes(), 0o755)})
    packed = gzip.compress(layer, mtime=0)
    blobs: dict[str, bytes] = {}

    def add(content: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    configuration = {
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": add(json.dumps(configuration).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [add(packed, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    entry = add(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": reference}
    index = {"schemaVersion": 2, "manifests": [entry]}
    files = {"oci-layout": (b'{"imageLayoutVersion":"1.0.0"}', 0o644)}
    files["index.json"] = (json.dumps(index).encode(), 0o644)
    files |= {name: (content, 0o644) for name, content in blobs.items()}
    archive.parent.mkdir(parents=True, exist_ok=True)
    temporary = archive.with_suffix(".tmp")
    temporary.write_bytes(_tar(files))
    temporary.rename(archive)
