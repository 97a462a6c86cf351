"""Writes the custom resource definitions into the chart, one file a kind, from `metallb_core.api.crd`.

python -m generate.crds            write
python -m generate.crds --check    fail when a file is stale
"""

import pathlib
import sys
from collections.abc import Sequence

import yaml

from generate import output
from metallb_core.api import crd

FOLDER = output.ROOT / "charts/metallb/charts/crds/crds"
HEADER = "# Generated from core/src/metallb_core/api by hack/generate/crds.py; edit that, not this.\n"


def files() -> dict[pathlib.Path, str]:
    """Path and text of every definition."""
    return {
        FOLDER / f"{kind.plural}.yaml": HEADER
        + yaml.safe_dump(crd.definition(kind), sort_keys=False, width=120, allow_unicode=True)
        for kind in crd.KINDS
    }


def owned() -> Sequence[pathlib.Path]:
    """The files of the folder now."""
    return sorted(FOLDER.glob("*.yaml"))


if __name__ == "__main__":
    sys.exit(output.run("generate.crds", __doc__, files, owned))
