"""``python -m devcluster.real_node``."""

import sys

from devcluster.real_node.command import main

if __name__ == "__main__":
    sys.exit(main())
