"""Kubeconfig files for programs under test: one cluster, no credentials, which a fake API server does not ask for."""

import json
import pathlib


def write(folder: pathlib.Path, server: str) -> pathlib.Path:
    """A kubeconfig in `folder` for the API server at the URL `server`."""
    path = folder / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    return path
