"""The operator under cProfile, by CPU time: ``python operator_profiled.py OUTPUT MODULE [ARGUMENT ...]``.

cProfile's own clock counts the time that other processes took the processor away for.
"""

from __future__ import annotations

import cProfile
import runpy
import sys
import time


def main() -> None:
    """Run a module as a program; its profile is written when it ends."""
    output, module, *sys.argv[1:] = sys.argv[1:]
    profile = cProfile.Profile(time.process_time)
    try:
        profile.runcall(runpy.run_module, module, run_name="__main__", alter_sys=True)
    finally:
        profile.dump_stats(output)


if __name__ == "__main__":
    main()
