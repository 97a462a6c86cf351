"""Writes docs/values.md, the reference of the chart's values, from values.schema.yaml and the defaults in values.yaml.

python -m generate.values_doc            write
python -m generate.values_doc --check    fail when it is stale
"""

import json
import pathlib
import sys
from collections.abc import Sequence

from generate import output, values

TARGET = output.ROOT / "docs/values.md"
HEADER = """# Values of the chart

<!-- Generated from charts/metallb/values.schema.yaml by hack/generate/values_doc.py; edit that, not this. -->

Give them with `--set key=value` or in a file with `-f values.yaml`. An unknown key is refused by its name, with the names there are. A values
file written for MetalLB's chart works; keys that are only accepted for its sake say so.
"""


def files() -> dict[pathlib.Path, str]:
    """Path and text of the page."""
    tables = []
    loose = [key for key in values.read() if not key.children]
    sections = [("General", loose)] + [(key.path, [key]) for key in values.read() if key.children]
    for title, keys in sections:
        rows = [_row(key) for top in keys for key in top.walk() if not key.children or key.description]
        tables.append("\n".join([f"## {title}", "", "| key | default | meaning |", "|---|---|---|", *rows]))
    return {TARGET: HEADER + "\n" + "\n\n".join(tables) + "\n"}


def _row(key: values.Key) -> str:
    meaning = key.description.replace("|", "\\|").replace("<", "&lt;")
    return f"| `{key.path}` | {_default(key)} | {meaning} |"


def _default(key: values.Key) -> str:
    if key.compatible or (key.children and key.default):
        return ""
    if key.children:
        return "`{}`"
    return f"`{json.dumps(key.default, ensure_ascii=False)}`"


def owned() -> Sequence[pathlib.Path]:
    """The page, when it is there."""
    return [TARGET] if TARGET.exists() else []


if __name__ == "__main__":
    sys.exit(output.run("generate.values_doc", __doc__, files, owned))
