"""What σ² is worth by what was matched: the models of a finished search, asked on its dev set.

    python benchmarks/search/sigma.py benchmarks/search/kd_few.yaml

asks every trial that has a variance head (``espnet_dice.stages.uncertainty``: teacher-forced on
the transcripts, 50 draws), as many epochs as the search gave it, and prints for the trials that
share a setting the mean AUROC of wrong tokens and the calibration error of the softmax. What was
asked is not asked again.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.search.search import Search
from benchmarks.search.space import Trial
from espnet_dice.io import fingerprint
from espnet_dice.io.errors import DiceError, cli
from espnet_dice.io.progress import setup_logging
from espnet_dice.results import token_uncertainty
from espnet_dice.results.statistics import auroc, reliability
from espnet_dice.results.table import layout
from espnet_dice.results.token_uncertainty import REF
from espnet_dice.results.uncertainty_eval import BINS, MEASURES
from espnet_dice.results.uncertainty_table import HEADS

VECTOR, NORM = "model_conf.unc_vector", "model_conf.unc_norm"
SMOOTHING, HEAD = "model_conf.lsm_weight", "decoder_conf.variance"


def measured(path: Path) -> dict[str, float]:
    """AUROC of each measure, and ``ece``, of one ``tokens.npz``."""
    said = token_uncertainty.read(path)
    tokens = said.passes[REF]
    wrong, groups = tokens["top"] != tokens["ids"], said.groups(REF)
    found = {m: auroc(tokens[m], wrong, groups, 0).value for m in MEASURES if m in tokens}
    return {**found, "ece": reliability(tokens["confidence"], ~wrong, BINS).ece}


def classes(trials: list[Trial]) -> list[tuple[str, Callable[[Trial], bool]]]:
    """Rows of the table: a name, and which trials it is of."""
    rows: list[tuple[str, Callable[[Trial], bool]]] = [
        ("no matching", lambda t: VECTOR not in t.keys),
        ("matching", lambda t: VECTOR in t.keys),
    ]
    for key in (VECTOR, NORM, SMOOTHING):
        for value in sorted({t.keys[key] for t in trials if key in t.keys}, key=str):
            name = f"{key.partition('.')[2]} {value}"
            rows.append((name, lambda t, key=key, value=value: t.keys.get(key) == value))
    return rows


def main() -> int:
    """The command."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("space", type=Path, help="YAML of a finished search")
    p.add_argument("--out", type=Path, help="its trials (exp/search_<space> of the recipe)")
    p.add_argument("--recipe", type=Path, help="a copy of the recipe's directory (the space's)")
    p.add_argument("--jobs", type=int, default=2, help="processes (2)")
    a = p.parse_args()
    setup_logging()
    search = Search(a.space, a.out, a.jobs, a.recipe)
    trials = [t for t in search.trials if t.keys.get(HEAD) != "none"]
    trials = [t for t in trials if (fingerprint.read(search.directory(t)) or {}).get("done")]
    if not trials:
        raise DiceError(f"{search.out}: no trial with a variance head was trained: run search.py")
    dev = search.space["dev"]
    words = ["uncertainty", "--sets", f"{search.space['dump']}/{dev}", "--nj", str(a.jobs)]
    words += ["--token_list", search.space["token_list"], "--systems"]
    search.stage([*words, *(str(search.directory(t)) for t in trials)])
    values = {
        t.tag: measured(search.directory(t) / token_uncertainty.OUT / dev / token_uncertainty.FILE)
        for t in trials
    }
    table = [["trials with", "number", *HEADS.values(), "ECE %"]]
    for name, belongs in classes(trials):
        found = [values[t.tag] for t in trials if belongs(t)]
        if not found:
            continue
        means = {m: statistics.mean(v[m] for v in found) for m in (*HEADS, "ece")}
        cells = [f"{means[m]:.2f}" for m in HEADS]
        table.append([name, str(len(found)), *cells, f"{100 * means['ece']:.1f}"])
    print(f"AUROC of wrong tokens on {dev}, mean over trials:\n\n{layout(table, left=1)}")
    return 0


if __name__ == "__main__":
    cli(main)
