"""Work on damaged bytes in a fork: native code that trips over them must not end the tests."""

from __future__ import annotations

import os
import resource
import traceback
from collections.abc import Callable

from tflite_converter.errors import ConverterError

DONE, REFUSED, WRONG = 0, 3, 9
_MEMORY_BYTES = 2 << 30


def outcome(work: Callable[[], object]) -> int:
    """Return how ``work`` ended: DONE, REFUSED by a reason, WRONG, or the negative number of a signal."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = WRONG
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)  # what a panic says of itself
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        work()
        code = DONE
    except ConverterError as error:
        code = REFUSED if error.reason.value.startswith(("Data", "Labels")) else WRONG
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
