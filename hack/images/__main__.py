"""`python -m images` is `images.build`."""

import sys

from images import build

if __name__ == "__main__":
    sys.exit(build.main())
