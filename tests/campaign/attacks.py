"""Files that leave a trace where something in them is run."""

import os
import pickle
import struct
import zipfile
from pathlib import Path


class Evil:
    """Touches a file where it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch '{self.trace}'",)


def torch_file(path: Path, trace: Path, **more) -> Path:
    """A checkpoint with one object that runs."""
    import torch

    torch.save({"model": {"w": torch.zeros(2)}, "evil": Evil(trace), **more}, path)
    return path


def pickled(path: Path, trace: Path) -> Path:
    """A plain pickle."""
    path.write_bytes(pickle.dumps(Evil(trace)))
    return path


def joblib_file(path: Path, trace: Path, compress: int = 0) -> Path:
    """A pickle of joblib's."""
    import joblib

    joblib.dump({"cluster_centers_": Evil(trace)}, path, compress=compress)
    return path


def npy(path: Path, trace: Path) -> Path:
    """An array of objects."""
    import numpy as np

    found = np.empty((1, 1), dtype=object)
    found[0, 0] = Evil(trace)
    np.save(path, found, allow_pickle=True)
    return path


def ark(path: Path, trace: Path) -> int:
    """An archive whose only entry is a pickle; returns the entry's offset."""
    path.write_bytes(b"u000 PKL" + pickle.dumps(Evil(trace)))
    return 5


def packed(path: Path, name: str, link: bool = False) -> Path:
    """An archive of a model with a member that leads elsewhere."""
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("meta.yaml", "files: {asr_model_file: m}\nyaml_files: {}\n")
        z.writestr("m", "parameters")
        info = zipfile.ZipInfo(name)
        if link:
            info.external_attr = 0o120777 << 16
        z.writestr(info, "/etc/passwd" if link else "evil")
    return path


def yaml_text(trace: Path) -> str:
    """A document that runs a command where tags make objects."""
    return f"max_epoch: !!python/object/apply:os.system [\"touch '{trace}'\"]\n"


def runs(trace: Path) -> list[str]:
    """Ways in which a word runs in a shell."""
    return [f"$(touch {trace})", f"`touch {trace}`", f"; touch {trace};", f"| touch {trace} |"]


def kaldi_matrix(rows: int, columns: int) -> bytes:
    """A float32 matrix as Kaldi writes it."""
    head = struct.pack("<2s3sBiBi", b"\0B", b"FM ", 4, rows, 4, columns)
    return head + bytes(4 * rows * columns)
