"""Speech to be heard from the page: excerpts as FLAC in data URIs, up to a total size."""

import base64
import io
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from espnet_dice.io.audio import AudioOptions, AudioReader
from espnet_dice.io.datadir import Utterance, read_data_dir
from espnet_dice.io.errors import DiceError

MEGABYTES = 6.0
SECONDS = 12.0


def excerpts(
    directories: Iterable[Path],
    wanted: Iterable[str],
    megabytes: float = MEGABYTES,
    allow_pipes: bool = False,
) -> dict[str, str]:
    """Sound of utterances, in the order wanted, as long as there is room.

    Args:
        directories: where their data directory may be; the first that can be read is used.
        wanted: utterances.
        megabytes: of the page, at most.
        allow_pipes: run wav.scp entries that are shell commands.

    Returns:
        utterance → ``data:`` URI, of its first :data:`SECONDS`. Empty where there is no sound, with
        a warning.
    """
    import soundfile

    known = _utterances(directories, allow_pipes)
    made: dict[str, str] = {}
    left = megabytes * 1e6
    for utt in wanted:
        if utt not in known:
            continue
        try:
            options = AudioOptions(resample=True, channel=0, allow_pipes=allow_pipes)
            samples, rate = AudioReader(options).read(known[utt])
        except DiceError as err:
            logging.warning("no sound in the report: %s", err)
            break
        out = io.BytesIO()
        excerpt = samples[: round(SECONDS * rate)]
        excerpt = excerpt / max(1.0, float(np.abs(excerpt).max(initial=0.0)))  # 16 bits would clip
        soundfile.write(out, excerpt, rate, format="FLAC", subtype="PCM_16")
        uri = "data:audio/flac;base64," + base64.b64encode(out.getvalue()).decode()
        left -= len(uri)
        if left < 0:
            break
        made[utt] = uri
    return made


def _utterances(directories: Iterable[Path], allow_pipes: bool) -> dict[str, Utterance]:
    for directory in directories:
        if (directory / "wav.scp").exists():
            try:
                data = read_data_dir(directory, allow_pipes, transcripts=False)
                return {utt.id: utt for utt in data}
            except DiceError as err:
                logging.warning("no sound in the report: %s", err)
    return {}
