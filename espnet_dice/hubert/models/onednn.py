"""How many kernels oneDNN remembers: it compiles one for each new shape of a convolution.

Its 1024 are too few for a training that sees the same batches in each epoch, some 30 kernels a
batch, and compiles them again each time: a sixth of the time of a small HuBERT's. They are too many
for a pass over utterances, where no shape comes back: looking for the oldest takes longer than
compiling, and each keeps 0.1 MB. There small models do better without oneDNN, and with one thread:
two take as long and nearly twice the CPU time.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator

SETTING = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
TRAINING, PASS = 4096, 64
SMALL = 128
"""Widest convolution that is not worth a kernel of its own for each length: of the embedded
corpus's models a third of a pass over an utterance; at 512 channels oneDNN is a third faster."""


def remember(kernels: int) -> None:
    """Let it be this many, or as many as are set already, if more.

    Works until a process's first convolution, and for the processes that it starts.
    """
    given = os.environ.get(SETTING, "")
    os.environ[SETTING] = str(max(kernels, int(given) if given.isdigit() else 0))


@contextlib.contextmanager
def worth_it(width: int) -> Iterator[None]:
    """Do without oneDNN and threads inside, for inputs of varied lengths, if the model is small.

    Args:
        width: channels of the model's widest convolution.
    """
    if width > SMALL:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch 2.11, about Intel's GPUs
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.set_num_threads(threads)
