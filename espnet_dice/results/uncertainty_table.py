"""What each measure of uncertainty is worth, system by system: a section of ``RESULTS.md``."""

from collections.abc import Sequence
from pathlib import Path

from espnet_dice.results.recognisers import System
from espnet_dice.results.table import add_section, layout
from espnet_dice.results.uncertainty_eval import DROPPED, MEASURES, Evaluation

TITLE = "## What the uncertainty is worth"
HEADS = {
    "variance_top": "σ²",
    "variance": "mean σ²",
    "variance_share": "σ² / mean",
    "entropy": "H",
    "entropy_noisy": "H(p̂)",
    "entropy_draws": "E[H]",
    "information": "MI",
}
NOTE = (
    "σ²: of the likeliest token; mean σ²: over all token types; H: entropy of the softmax, H(p̂): "
    "of the mean over the noise draws, E[H]: mean of the draws' entropies, MI = H(p̂) − E[H]. AUROC "
    "below 0.5: small values warn (1 − AUROC is the measure the other way round). Matched: what "
    "uncertainty matching compared; head: φ of the variance head."
)


def write(exp: Path, evaluations: Sequence[Evaluation]) -> None:
    """Put the section into ``RESULTS.md``, if that is there and anything was asked."""
    if evaluations:
        add_section(exp, TITLE, section(evaluations))


def section(evaluations: Sequence[Evaluation]) -> str:
    """AUROC of every measure, then calibration and what is left when the least sure is dropped."""
    measures = [m for m in HEADS if any(m in w.auroc for w in evaluations)]
    assert set(HEADS) == set(MEASURES)
    names = ["system", "head", "matched", "set"]
    auroc = [[*names, *(HEADS[m] for m in measures)]]
    kept = [[*names, "ECE %", "ECE % of p̂", "all", *(HEADS[m] for m in measures)]]
    for w in evaluations:
        named = [w.system.name, head_of(w.system), matched(w.system), w.set]
        values = [w.auroc.get(m) for m in measures]
        auroc.append([*named, *("–" if x is None else f"{x.value:.2f}" for x in values)])
        ece = "–" if w.ece_noisy is None else f"{100 * w.ece_noisy:.1f}"
        curves = [w.curves.get(m) for m in measures]
        cells = [f"{100 * w.reliability.ece:.1f}", ece, f"{100 * w.risk:.1f}"]
        cells += ["–" if c is None else f"{100 * c.kept:.1f}" for c in curves]
        kept.append([*named, *cells])
    return "\n\n".join(
        [
            "AUROC of wrong tokens, teacher-forced on the transcript:",
            layout(auroc, left=4),
            f"ECE, and WER % (in noise: wrong tokens %) of all and when the {DROPPED:.0%} of the "
            "words in the most uncertain utterances are dropped:",
            layout(kept, left=4),
            NOTE,
        ]
    )


def head_of(system: System) -> str:
    """φ of its variance head; – where it has none, or its config does not say."""
    config = system.config
    if config.get("decoder") != "uncertainty_transformer":
        return "–"
    name = (config.get("decoder_conf") or {}).get("variance", "softplus")
    return "–" if name == "none" else name


def matched(system: System) -> str:
    """Vector and normalisation of uncertainty matching."""
    if not system.matches_uncertainty:
        return "–"
    conf = system.config.get("model_conf") or {}
    return f"{conf.get('unc_vector', 'variance')}, {conf.get('unc_norm', 'nmse')}"
