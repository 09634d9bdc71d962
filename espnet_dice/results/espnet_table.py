"""Error rates as ESPnet writes them: ``score_wer/result.txt``, and the table made of such files.

A line is what sclite prints, and what ESPnet's ``scripts/utils/show_asr_result.sh`` looks for:

    | Sum/Avg  |   130   1210 | 93.1    5.2    1.7    0.8    7.8   31.5 |

utterances and words; then, in % of the words, those that are right, substituted, deleted and
inserted, and all errors; last, in % of the utterances, those with an error. The counts are ours, of
the alignment with the fewest errors, where sclite weighs substitutions 4 and gaps 3.
"""

from collections.abc import Mapping
from pathlib import Path

from espnet_dice.io.atomic import write_text
from espnet_dice.results.alignment import Counts

MARKDOWN = "RESULTS_espnet.md"
RESULT = "result.txt"
KINDS = ("wer", "cer", "ter")
"""Words, characters, tokens."""
_HEAD = "| SPKR     | # Snt  # Wrd | Corr    Sub    Del    Ins    Err  S.Err |"
_COLUMNS = ("dataset", "Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err")


def write(directory: Path, counts: Mapping[str, Counts]) -> None:
    """Write ``score_<kind>/result.txt`` into a decoding's directory.

    Args:
        directory: ``exp/asr_<tag>/decode_<…>/<set>``.
        counts: of :data:`KINDS`, those that there are.
    """
    for kind, found in counts.items():
        path = directory / f"score_{kind}" / RESULT
        path.parent.mkdir(exist_ok=True)
        write_text(path, f"{_HEAD}\n{line(found)}\n")


def line(counts: Counts) -> str:
    """The sums of a set."""
    sentences, units = len(counts.units), int(counts.units.sum())
    substituted, deleted, inserted = counts.errors.sum(axis=0).tolist()
    right = units - substituted - deleted
    wrong = substituted + deleted + inserted
    shares = [100 * n / units for n in (right, substituted, deleted, inserted, wrong)]
    shares.append(100 * int((counts.total > 0).sum()) / sentences)
    figures = " ".join(f"{share:6.1f}" for share in shares)
    return f"| Sum/Avg  |{sentences:6d} {units:6d} |{figures} |"


def table(exp: Path) -> str:
    """All result files below ``exp`` as the Markdown of ``show_asr_result.sh``."""
    parts = ["# RESULTS"]
    for system in sorted(exp.glob("asr_*")):
        if not any(system.glob(f"*/*/score_*/{RESULT}")):
            continue
        parts.append(f"## {system.as_posix()}")
        for kind in KINDS:
            lines = [f"|{'|'.join(_COLUMNS)}|", "|---" * len(_COLUMNS) + "|"]
            for path in sorted(system.glob(f"*/*/score_{kind}/{RESULT}")):
                sums = [x for x in path.read_text(encoding="utf-8").splitlines() if "Avg" in x]
                name = path.parents[1].relative_to(system).as_posix()
                figures = (x.replace("|", " ").split()[1:] for x in sums)
                lines += [f"|{'|'.join([name, *cells])}|" for cells in figures]
            parts.append(f"### {kind.upper()}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"
