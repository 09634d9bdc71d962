"""What lies in the place of a file that is wanted, by its first bytes."""

from pathlib import Path

PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"(\xb5/\xfd": "zstd",
    b"PK\3\4": "zip",
}
_OTHERS = {
    b"version https://git-lfs": "it is a pointer: get the file with git lfs pull",
    b"\x1aE\xdf\xa3": "it is WebM or Matroska: convert it (ffmpeg -i IN OUT.wav)",
    b"#!AMR": "it is AMR: convert it (ffmpeg -i IN OUT.wav)",
    b"0&\xb2u\x8ef\xcf\x11": "it is WMA: convert it (ffmpeg -i IN OUT.wav)",
}
_MP4 = "it is MP4 or M4A: convert it (ffmpeg -i IN OUT.wav)"
_LOOKED_AT = 40


def packed_by(data: bytes) -> str | None:
    """The tool that packed a file that begins so; None: none that is known."""
    for begin, tool in PACKED.items():
        # BZh may be a name; packed data have bytes that no text begins with
        if data.startswith(begin) and (tool != "bzip2" or data[4:10] == b"1AY&SY"):
            return tool
    return None


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
    tool = packed_by(head)
    if tool and not (zipped and tool == "zip"):
        return f", it is packed by {tool}: unpack it"
    for begin, what in _OTHERS.items():
        if head.startswith(begin):
            return f", {what}"
    if head[4:8] == b"ftyp":
        return f", {_MP4}"
    text = head.decode("utf-8", "ignore").strip()
    readable = len(text) > 3 and all(c.isprintable() or c.isspace() for c in text)
    return f", it begins with {text!r}" if readable else "" if head else ", it is empty"
