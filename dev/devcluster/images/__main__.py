"""``python -m devcluster.images``."""

import sys

from devcluster.images.build import main

if __name__ == "__main__":
    sys.exit(main())
