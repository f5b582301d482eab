"""What a process of openbell's own sets for itself; a program that embeds it decides for itself."""

from __future__ import annotations

import ctypes
import gc
import os
import sys

_MIB = 2**20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def start_up() -> None:
    """Before a long command's imports: they leave no garbage, and to look for it takes 0.1 s.

    Nothing here multiplies matrices; threads for it would take 0.1 s of CPU to start.
    """
    gc.disable()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def go_on() -> None:
    """After its imports, before the work.

    What was imported is never looked through again. Freed memory is kept for the next day's
    arrays, which have the same sizes: to give it back and ask anew took a fifth of a backtest's
    CPU time.
    """
    gc.freeze()
    gc.enable()
    sys.setswitchinterval(0.0005)
    # Arrow's own choice keeps a fifth more memory, and is no faster.
    if (arrow := sys.modules.get("pyarrow")) and "jemalloc" in arrow.supported_memory_backends():
        arrow.set_memory_pool(arrow.jemalloc_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # another C library than glibc may lack it
        mallopt(_M_TRIM_THRESHOLD, 256 * _MIB)
        mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
