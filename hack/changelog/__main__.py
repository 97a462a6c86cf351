"""`python -m changelog` is `changelog.build`."""

import sys

from changelog import build

if __name__ == "__main__":
    sys.exit(build.main(program="python -m changelog"))
