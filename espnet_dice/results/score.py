"""Word and character error rates of what was decoded."""

import logging
import shutil
import subprocess
import tempfile
from pathlib import Path

from espnet_dice.io import fingerprint
from espnet_dice.io.errors import DataError
from espnet_dice.io.json_files import read_json
from espnet_dice.results.table import Row

SCLITE = ("sclite", "/usr/lib/sctk/bin/sclite")


def read_text(path: Path) -> dict[str, str]:
    """utterance → words; an utterance without words has an empty string.

    Raises:
        DataError: missing, or an utterance is listed twice.
    """
    texts: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the stage that makes it again") from None
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: not UTF-8 ({err}); remove it and decode again") from None
    for n, line in enumerate(lines, 1):
        utt, *words = line.split() or [""]
        if not utt or utt in texts:
            what = f"listed twice: {utt}" if utt else "empty line"
            raise DataError(f"{path}:{n}: {what}; remove the directory and decode again")
        texts[utt] = " ".join(words)
    return texts


def error_rates(reference: dict[str, str], hypothesis: dict[str, str]) -> dict:
    """Word and character errors over a set; an empty hypothesis is all deletions.

    Args:
        reference: utterance → transcript, none empty.
        hypothesis: utterance → result, for the same utterances.

    Returns:
        wer and cer in %, words and characters of the reference, and S, D, I counts of each.

    Raises:
        DataError: the utterances differ, or a reference is empty.
    """
    import jiwer

    differing = sorted(set(reference) ^ set(hypothesis))
    if differing:
        raise DataError(f"{differing[0]} is only in one of reference and result: decode again")
    empty = [u for u, t in reference.items() if not t]
    if empty or not reference:
        who = f"{empty[0]} has" if empty else "no utterances:"
        raise DataError(f"{who} an empty reference transcript, which has no error rate")
    utts = sorted(reference)
    refs, hyps = [reference[u] for u in utts], [hypothesis[u] for u in utts]
    found = {}
    for kind, measure, unit in (
        ("wer", jiwer.process_words, "words"),
        ("cer", jiwer.process_characters, "characters"),
    ):
        out = measure(refs, hyps)
        n = out.hits + out.substitutions + out.deletions
        errors = [out.substitutions, out.deletions, out.insertions]
        found[kind] = round(100.0 * sum(errors) / n, 3)
        found[unit] = n
        found[f"{kind}_sdi"] = errors
    return found


def sclite_wer(program: str, reference: dict[str, str], hypothesis: dict[str, str]) -> float | None:
    """WER in % by NIST's sclite, or None where it could not score (a warning says why)."""
    with tempfile.TemporaryDirectory() as tmp:
        for name, texts in (("ref", reference), ("hyp", hypothesis)):
            lines = [f"{text} ({utt})\n" for utt, text in sorted(texts.items())]
            (Path(tmp) / name).write_text("".join(lines), encoding="utf-8")
        command = [program, "-r", "ref", "trn", "-h", "hyp", "trn", "-i", "spu_id", "-o", "rsum"]
        done = subprocess.run(
            [*command, "stdout"], cwd=tmp, capture_output=True, text=True, errors="replace"
        )
        for line in done.stdout.splitlines():
            # | Sum | sentences words | corr sub del ins err s.err |
            cells = line.replace("|", " ").split()
            if cells[:1] == ["Sum"]:
                _, _, words, _, _, _, _, errors, *_ = cells
                return round(100.0 * int(errors) / int(words), 3)
    logging.warning("sclite gave no sum: %s", (done.stderr or done.stdout).strip()[-200:])
    return None


def find_sclite() -> str | None:
    """Path of sclite where it is installed."""
    return next((path for path in map(shutil.which, SCLITE) if path), None)


def decodings(exp: Path) -> list[Path]:
    """Finished decoding directories that belong to the models that are there now."""
    found = []
    for meta in sorted(exp.glob("asr_*/decode_*/*/meta.json")):
        out = meta.parent
        record = fingerprint.read(out)
        if record is None or not record.get("done"):
            logging.warning("%s was not finished: left out", out)
            continue
        model = read_json(out.parent.parent / "model.json")
        if model is None or model["sha256"] != record["inputs"]["model"]:
            logging.warning("%s belongs to an older model: left out; decode again", out)
            continue
        found.append(out)
    return found


def score(exp: Path) -> list[Row]:
    """Score every decoding below ``exp``.

    Raises:
        DataError: nothing was decoded, or a text is missing or damaged.
    """
    sclite = find_sclite()
    rows = []
    for out in decodings(exp):
        meta = read_json(out / "meta.json")
        reference, hypothesis = read_text(Path(meta["reference"])), read_text(out / "text")
        try:
            rates = error_rates(reference, hypothesis)
        except DataError as err:
            raise DataError(f"{out}: {err} (reference: {meta['reference']})") from err
        if sclite:
            rates["sclite_wer"] = sclite_wer(sclite, reference, hypothesis)
        rows.append(Row.make(meta, rates, out))
    if not rows:
        raise DataError(f"nothing was decoded below {exp}: run stages 6 and 9 first")
    return sorted(rows, key=Row.order)
