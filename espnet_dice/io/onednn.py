"""How many kernels oneDNN remembers: it compiles one for each new shape of a convolution.

Its 1024 are too few for a training that sees the same batches in each epoch, some 30 kernels a
batch, and compiles them again each time: a sixth of the time of a small HuBERT's. They are too many
for a pass over utterances, where no shape comes back: looking for the oldest takes longer than
compiling, and each keeps 0.1 MB.
"""

import os

SETTING = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
TRAINING, PASS = 4096, 64


def remember(kernels: int) -> None:
    """Let it be this many, or as many as are set already, if more.

    Works until a process's first convolution, and for the processes that it starts.
    """
    given = os.environ.get(SETTING, "")
    os.environ[SETTING] = str(max(kernels, int(given) if given.isdigit() else 0))
