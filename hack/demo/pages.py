"""What the documents show, for tests that do what a page says: blocks of YAML, as they stand."""

import pathlib
import re
from typing import Any

import yaml

DOCS = pathlib.Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: pathlib.Path) -> list[str]:
    """The blocks of YAML on a page, in order."""
    return _BLOCK.findall(page.read_text())


def gitops() -> dict[str, dict[str, Any]]:
    """The objects on the page about GitOps, by kind."""
    documents = (document for block in blocks(DOCS / "gitops.md") for document in yaml.safe_load_all(block))
    return {document["kind"]: document for document in documents}
