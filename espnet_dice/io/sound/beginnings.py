"""What lies in the place of a file that is wanted, by its first bytes."""

from pathlib import Path

_OTHERS = {
    b"\x1f\x8b": "it is packed by gzip: unpack it",
    b"PK\3\4": "it is a zip: unpack it",
    b"version https://git-lfs": "it is a pointer: get the file with git lfs pull",
}
_LOOKED_AT = 40


def seems(source: str | Path | bytes, zipped: bool = False) -> str:
    """What a file that cannot be read seems to be, to be put behind the reason.

    Args:
        source: its path, or its bytes.
        zipped: a zip is what is wanted.

    Returns:
        Beginning with a comma; empty where the first bytes do not tell.
    """
    if isinstance(source, bytes):
        head = source[:_LOOKED_AT]
    else:
        with open(source, "rb") as f:
            head = f.read(_LOOKED_AT)
    for begin, what in _OTHERS.items():
        if head.startswith(begin) and not (zipped and begin == b"PK\3\4"):
            return f", {what}"
    text = head.decode("utf-8", "ignore").strip()
    readable = len(text) > 3 and all(c.isprintable() or c.isspace() for c in text)
    return f", it begins with {text!r}" if readable else "" if head else ", it is empty"
