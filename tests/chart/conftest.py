"""Helm and the objects it renders, for the tests of the chart."""

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from generate import helm, output

CHART = output.ROOT / "charts/metallb"
Node = dict[str, Any]
Render = Callable[..., list[Node]]


@pytest.fixture(scope="session")
def helm_program() -> pathlib.Path:
    found = helm.find()
    if found is None:
        pytest.skip("helm is neither on PATH nor built by hack/tools/build.py")
    return found


@pytest.fixture(scope="session")
def render(helm_program: pathlib.Path) -> Render:
    """`helm template` as objects. Arguments are appended to the command."""

    def rendered(*arguments: str | pathlib.Path) -> list[Node]:
        text = helm.run(helm_program, ["template", "metallb", CHART, "--namespace", "metallb-system", *arguments])
        return [document for document in yaml.safe_load_all(text) if document]

    return rendered
