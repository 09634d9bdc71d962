"""Word and character error rates of what was decoded."""

import logging
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_dice.io import fingerprint, texts
from espnet_dice.io.errors import DataError
from espnet_dice.io.json_files import read_json
from espnet_dice.records import experiment, token_models
from espnet_dice.records.config_base import read_trained
from espnet_dice.results import alignment, espnet_table
from espnet_dice.results.alignment import Counts
from espnet_dice.results.table import Row

SCLITE = ("sclite", "/usr/lib/sctk/bin/sclite")


def count(reference: Mapping[str, str], hypothesis: Mapping[str, str]) -> dict[str, Counts]:
    """Word and character errors of a set's utterances; an empty hypothesis is all deletions.

    Args:
        reference: utterance → transcript, none empty.
        hypothesis: utterance → result, for the same utterances.

    Returns:
        Under wer and cer the counts, utterances in the order of their ids.

    Raises:
        DataError: the utterances differ, or a reference is empty.
    """
    differing = sorted(set(reference) ^ set(hypothesis))
    if differing:
        raise DataError(f"{differing[0]} is only in one of reference and result: decode again")
    empty = [u for u, t in reference.items() if not t]
    if empty or not reference:
        who = f"{empty[0]} has" if empty else "no utterances:"
        raise DataError(f"{who} an empty reference transcript, which has no error rate")
    utts = sorted(reference)
    refs, hyps = [reference[u] for u in utts], [hypothesis[u] for u in utts]
    return {
        "wer": alignment.count(refs, hyps),
        "cer": alignment.count(refs, hyps, characters=True),
    }


def error_rates(reference: Mapping[str, str], hypothesis: Mapping[str, str]) -> dict:
    """The sums of :func:`count`.

    Returns:
        wer and cer in %, words and characters of the reference, and S, D, I counts of each.
    """
    return _rates(count(reference, hypothesis))


def _rates(counts: Mapping[str, Counts]) -> dict:
    found = {}
    for kind, unit in (("wer", "words"), ("cer", "characters")):
        errors, n = counts[kind].errors.sum(axis=0).tolist(), int(counts[kind].units.sum())
        found |= {kind: round(100.0 * sum(errors) / n, 3), unit: n, f"{kind}_sdi": errors}
    return found


def sclite_wer(program: str, reference: dict[str, str], hypothesis: dict[str, str]) -> float | None:
    """WER in % by NIST's sclite, or None where it could not score (a warning says why)."""
    with tempfile.TemporaryDirectory() as tmp:
        for name, said in (("ref", reference), ("hyp", hypothesis)):
            lines = [f"{text} ({utt})\n" for utt, text in sorted(said.items())]
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
    """Finished decoding directories of the models and the sets that are there now."""
    found = []
    for meta in sorted(exp.glob("asr_*/decode_*/*/meta.json")):
        out = meta.parent
        record = fingerprint.read(out)
        if record is None or not record.get("done"):
            logging.warning("%s was not finished: left out", out)
        elif not experiment.is_current(out.parent.parent, record["inputs"]["model"]):
            logging.warning("%s belongs to an older model: left out; decode again", out)
        elif not _of_present_set(out, record, exp):
            logging.warning("%s is of the set as it was before: left out; decode again", out)
        else:
            found.append(out)
    return found


def _of_present_set(out: Path, record: Mapping[str, Any], exp: Path) -> bool:
    """Whether the set is the one that was decoded; true where it does not say what it is."""
    reference = (read_json(out / "meta.json") or {}).get("reference", "")
    present = fingerprint.read(experiment.of_recipe(exp, reference).parent) or {}
    decoded = record["inputs"].get("data")
    return decoded is None or present.get("key") in (None, decoded)


def score(exp: Path) -> list[Row]:
    """Score every decoding below ``exp``; each gets ESPnet's ``score_*/result.txt``, too.

    Raises:
        DataError: nothing was decoded, or a text is missing or damaged.
    """
    sclite = find_sclite()
    rows = []
    for out in decodings(exp):
        meta = read_json(out / "meta.json")
        reference = texts.words(experiment.of_recipe(exp, meta["reference"]))
        hypothesis = texts.words(out / "text", "decode again")
        try:
            counts = count(reference, hypothesis)
        except DataError as err:
            raise DataError(f"{out}: {err} (reference: {meta['reference']})") from err
        rates = _rates(counts)
        if sclite:
            rates["sclite_wer"] = sclite_wer(sclite, reference, hypothesis)
        rows.append(Row.make(meta, rates, out))
        espnet_table.write(out, counts | _of_tokens(out, reference, hypothesis))
    if not rows:
        raise DataError(f"nothing was decoded below {exp}: run stages 6 and 9 first")
    return sorted(rows, key=Row.order)


def _of_tokens(
    out: Path, reference: Mapping[str, str], hypothesis: Mapping[str, str]
) -> dict[str, Counts]:
    """Token errors, the texts cut as the recogniser's transcripts were; empty if that is gone."""
    system = out.parents[1]
    config = system / "config.yaml"
    model = read_trained(config).get("bpemodel") if config.is_file() else None
    path = experiment.of_recipe(system.parent, model or "")
    if not path.is_file():
        return {}
    pieces = token_models.processor(path.read_bytes())
    cut = (
        [" ".join(pieces.encode(said[utt], out_type=str)) for utt in sorted(reference)]
        for said in (reference, hypothesis)
    )
    return {"ter": alignment.count(*cut)}
