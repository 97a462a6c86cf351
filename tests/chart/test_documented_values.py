"""Values that the documents show: the chart takes them as they stand, and the programs know every flag in them.

A block of YAML in a document is a values file unless it says of what kind it is; then it is an object, and other tests apply it.
"""

import pathlib
import re
from typing import Any

import pytest
import yaml

from demo import pages
from generate import helm, output
from metallb_controller import flags as controller
from metallb_core.runtime import settings
from metallb_speaker import flags as speaker

DOCUMENTS = [output.ROOT / "README.md", *sorted((output.ROOT / "docs").glob("*.md"))]
FLAGS: dict[str, tuple[Any, ...]] = {"controller": controller.ALL, "speaker": speaker.ALL}


def values_of(path: pathlib.Path) -> list[str]:
    return [block for block in pages.blocks(path) if not re.search("^kind:", block, re.MULTILINE)]


SHOWN = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in DOCUMENTS
    for number, block in enumerate(values_of(path), start=1)
]


@pytest.mark.parametrize("block", SHOWN)
def test_the_chart_takes_them(render: Any, tmp_path: pathlib.Path, block: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(block)
    documents = render("--values", file)
    given = yaml.safe_load(block)
    for component, known in FLAGS.items():
        arguments = given.get(component, {}).get("extraArgs", [])
        settings.parse_or_exit(known, arguments, {})
        said = [
            argument
            for document in documents
            if document["kind"] in ("Deployment", "DaemonSet")
            for container in document["spec"]["template"]["spec"]["containers"]
            if container["name"] == component
            for argument in container["args"]
        ]
        assert said[len(said) - len(arguments) :] == arguments


def test_what_happens_to_a_node_that_is_drained_is_on_the_page_of_the_chart() -> None:
    """These flags have no value of their own; who reads how the chart is installed, or what its values are, finds them."""
    shown = [flag for block in values_of(output.ROOT / "docs/install.md") for flag in re.findall(r"--[a-z-]+", block)]
    page = (output.ROOT / "docs/values.md").read_text()
    for flag in (speaker.DRAIN_TAINT, speaker.BGP_DRAIN, speaker.LINGER):
        assert f"--{flag.name}" in shown
        assert f"--{flag.name}" in page


def test_a_flag_that_is_unknown_is_found(helm_program: pathlib.Path) -> None:
    with pytest.raises(SystemExit):
        settings.parse_or_exit(speaker.ALL, ["--drain-taints=a"], {})
    with pytest.raises(helm.HelmError):
        helm.run(helm_program, ["template", "m", output.ROOT / "charts/metallb", "--set", "speaker.extraArg={--a}"])
