"""``python -m devcluster.release``."""

import sys

from devcluster.release.command import main

if __name__ == "__main__":
    sys.exit(main())
