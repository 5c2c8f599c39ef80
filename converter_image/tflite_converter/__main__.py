"""``tflite-converter``, and ``python -m tflite_converter``: the command line."""

import sys

from tflite_converter.cli.jobs import JOBS


def main() -> None:
    """Run the command line, and end the process with its exit code.

    A Job's command takes nothing, and three run for each conversion: they start without what the commands for
    people import.
    """
    job = JOBS.get(sys.argv[1]) if len(sys.argv) == 2 else None
    if job is not None:
        sys.exit(job())
    from tflite_converter.cli.main import app

    app(prog_name="tflite-converter")


if __name__ == "__main__":
    main()
