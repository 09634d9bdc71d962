"""What the data commands share: knowing their own directories again, and writing tables."""

from collections.abc import Iterable
from pathlib import Path

from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import StaleError
from espnet_dice.io.fingerprint import Fingerprint, read


def is_made(directory: Path, mark: Fingerprint, overwrite: bool) -> bool:
    """True if ``directory`` is whole and made from this; False if it is to be made.

    Args:
        overwrite: a directory of the same kind that was made from something else may be replaced.

    Raises:
        StaleError: something else is there.
    """
    if mark.is_done(directory):
        return True
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    found = read(directory)
    if found is None or found.get("stage") != mark.record["stage"]:
        raise StaleError(
            f"{directory} is there and was not made by this command: choose another --out"
        )
    if not overwrite:
        raise StaleError(
            f"{directory} was made from something else ({mark.why(directory)}): "
            "choose another --out, or --overwrite to make it anew"
        )
    return False


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """One line each; an error names the file."""
    try:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as err:
        raise OSError(err.errno, err.strerror, str(path)) from err


def write_lm_text(directory: Path, lines: dict[str, list[str]], mark: Fingerprint) -> None:
    """Write the LM's sentences, ``{split}.txt`` for each split."""
    with atomic_dir(directory) as tmp:
        for split, sentences in lines.items():
            write_lines(tmp / f"{split}.txt", sentences)
        mark.finish(tmp)
