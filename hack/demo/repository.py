"""A chart repository on loopback: what `helm repo add` needs, and nothing more."""

import contextlib
import functools
import http.server
import pathlib
import subprocess
import threading
from collections.abc import Iterator

# Helm installs no pre-release unless told to, and between releases the chart's own version is one.
VERSION = "0.0.1"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the demo's output is the demo's."""


@contextlib.contextmanager
def serving(helm: pathlib.Path, chart: pathlib.Path, directory: pathlib.Path) -> Iterator[str]:
    """Package `chart` into `directory`, and serve it as `packaged` does."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.tgz"):
        old.unlink()
    package(helm, chart, directory)
    with packaged(helm, directory) as url:
        yield url


def package(helm: pathlib.Path, chart: pathlib.Path, directory: pathlib.Path, version: str = VERSION) -> None:
    """Put `chart` into `directory`, as `version`."""
    command: list[str | pathlib.Path] = [helm, "package", chart, "--version", version, "--destination", directory]
    subprocess.run(command, check=True, capture_output=True, text=True)


def index(helm: pathlib.Path, directory: pathlib.Path, url: str) -> None:
    """Make the index that says which packages are in `directory`: anew after each that came while it is served."""
    subprocess.run([helm, "repo", "index", directory, "--url", url], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def packaged(helm: pathlib.Path, directory: pathlib.Path) -> Iterator[str]:
    """Index the packages in `directory`, and serve it until the block ends. Gives the repository's URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(directory)))
    url = f"http://127.0.0.1:{server.server_address[1]}"
    index(helm, directory, url)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
