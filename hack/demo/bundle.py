"""The images that the chart names, built from this checkout."""

import dataclasses
import pathlib
import re

from images import build as images

ROOT = pathlib.Path(__file__).parents[2]
REPOSITORY = "quay.io/metallb"
PORT = 8080


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Archives of the images, under the names the chart uses by default."""

    tag: str
    archives: tuple[pathlib.Path, ...]


def chart_version() -> str:
    """The chart's appVersion, which is its images' tag."""
    text = (ROOT / "charts/metallb/Chart.yaml").read_text()
    found = re.search(r"^appVersion: *\"?([^\"\s]+)", text, re.MULTILINE)
    if found is None:
        raise ValueError("charts/metallb/Chart.yaml has no appVersion")
    return found[1]


def build() -> Bundle:
    """Bring the archives up to date."""
    tag = chart_version()
    for name in ("controller", "speaker"):
        images.build_image(name, f"{REPOSITORY}/{name}:{tag}")
    images.build_image("web", images.WEB_REFERENCE)
    return Bundle(tag=tag, archives=tuple(images.archive(name) for name in ("controller", "speaker", "web")))
