"""``python -m devcluster.dashboards``."""

import sys

from devcluster.dashboards.files import main

if __name__ == "__main__":
    sys.exit(main())
