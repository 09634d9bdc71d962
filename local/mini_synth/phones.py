"""Where each phone of a recording is, from espeak-ng's events, in ZeroSpeech's item format."""

from collections.abc import Sequence

HEAD = "#file onset offset #phone prev-phone next-phone speaker"
SILENCE = "SIL"
STRESS = "',%=|"
"""Marks that espeak-ng puts before a phoneme's name."""

Phone = tuple[float, float, str]
"""Onset and offset in seconds, and the name; that of a pause is empty."""


def spans(events: Sequence[tuple[int, str]], rate: int, first: float, last: float) -> list[Phone]:
    """Phones of what is kept of spoken samples, from its beginning on.

    A phone lasts until the next event; pauses keep their place, as what phones are apart by.

    Args:
        events: first sample and name of each phoneme, in order.
        rate: of those samples, in Hz.
        first, last: where the kept part begins and ends, in seconds.
    """
    starts = [sample / rate for sample, _ in events] + [last]
    made = []
    for (_, name), start, end in zip(events, starts, starts[1:], strict=False):
        onset, offset = max(start, first), min(end, last)
        if onset < offset:
            name = "" if name.startswith("_") else name.lstrip(STRESS)
            made.append((onset - first, offset - first, name))
    return made


def later(phones: Sequence[Phone], seconds: float) -> list[Phone]:
    """The same phones, begun later."""
    return [(onset + seconds, offset + seconds, name) for onset, offset, name in phones]


def lines(utt: str, speaker: str, phones: Sequence[Phone]) -> list[str]:
    """Lines of an item file."""
    names = [SILENCE, *(name or SILENCE for _, _, name in phones), SILENCE]
    return [
        f"{utt} {onset:.4f} {offset:.4f} {name} {names[k]} {names[k + 2]} {speaker}"
        for k, (onset, offset, name) in enumerate(phones)
        if name
    ]
