"""What the C library does with memory that was freed: keep it, or give it back.

Only glibc is asked; elsewhere nothing happens.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE = 32 * 2**20
"""Bytes from which an array is mapped by itself and given back at once, whatever is asked for."""


def keep_freed() -> None:
    """Let this process keep what it frees, for a loop whose every turn takes the same arrays.

    Else each is taken from the system page by page, in each turn: a seventh of the CPU time of a
    training step of the embedded corpus's models, and half of it where two threads wait for the
    same page table.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)  # the largest that glibc would come to by itself
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def give_back() -> None:
    """Give back what was freed: of arrays of varied lengths glibc keeps pieces, 0.5 GB in 8 h."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
