"""Memory that is kept, and given back: seen in the page faults of a process of its own."""

import platform
import subprocess
import sys

import pytest

LOOP = """
import resource
import numpy as np
from espnet_dice.io import memory

{before}


def turn():
    arrays = [np.ones(2**20) for _ in range(8)]  # 64 MB
    del arrays


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


for _ in range(3):
    turn()
start = faults()
for _ in range(5):
    turn()
{after}
print(faults() - start)
"""
PAGES = 8 * 2**23 // 4096
"""Of one turn."""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")


def faults_of_five_turns(before, after=""):
    code = LOOP.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_kept_memory_is_not_taken_from_the_system_again():
    assert faults_of_five_turns("memory.keep_freed()") < PAGES / 50


def test_memory_that_was_given_back_is():
    # of 16384 pages; NumPy asks for huge ones, which come 512 at a time
    assert faults_of_five_turns("memory.keep_freed()", "memory.give_back(); turn()") > PAGES / 10
