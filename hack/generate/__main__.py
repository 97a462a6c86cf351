"""Runs every generator, in the order in which one's output is another's input.

python -m generate            write everything
python -m generate --check    fail when any file is stale
"""

import sys

from generate import crds, manifests, output, values_comments, values_doc, values_schema

STEPS = (
    ("generate.crds", crds),
    ("generate.values_schema", values_schema),
    ("generate.values_comments", values_comments),
    ("generate.values_doc", values_doc),
    ("generate.manifests", manifests),
)

if __name__ == "__main__":
    check = output.only_check("generate", __doc__)
    statuses = [output.settle(name, step.files, step.owned, check=check) for name, step in STEPS]
    sys.exit(max(statuses))
