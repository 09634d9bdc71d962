"""The answer to "is the uncertainty worth anything", as a summary with its numbers."""

from collections.abc import Sequence

from espnet_dice.results.uncertainty_eval import ENTROPY, SIGMA, Answer, Evaluation

WORDS = {
    "more": "Yes: σ² tells more than entropy, which is there without it.",
    "some": "Little: σ² tells something of which tokens are wrong, and entropy, which is there "
    "without any variance head, tells more.",
    "nothing": "No: σ² does not tell which tokens are wrong, and entropy, which is there without "
    "any variance head, does.",
}


def summary(answer: Answer, evaluations: Sequence[Evaluation]) -> str:
    """The answer in plain text."""
    s = answer.student
    parts = [
        WORDS[answer.word],
        f"Of {s.system.name} on {s.set}, σ² of the likeliest token ranks wrong tokens above right "
        f"ones with an AUROC of {_range(s, SIGMA)} (0.5 is chance), entropy with "
        f"{_range(s, ENTROPY)}.",
        _dropping(s),
        _matching(answer),
        _teachers(s, evaluations),
        _noise(answer.noisy),
    ]
    return " ".join(part for part in parts if part)


def _range(w: Evaluation, measure: str) -> str:
    i = w.auroc[measure]
    return f"{i.value:.2f} ({i.low:.2f}–{i.high:.2f})"


def _dropping(s: Evaluation) -> str:
    if not {SIGMA, ENTROPY} <= s.curves.keys():
        return ""
    sigma, entropy = (100 * s.curves[m].kept for m in (SIGMA, ENTROPY))
    unit = "WER" if s.snr is None else "share of wrong tokens"
    worse = ", which is worse than dropping nothing," if sigma > 100 * s.risk else ""
    return (
        f"Dropping the fifth of the words in the most uncertain utterances takes its {unit} from "
        f"{100 * s.risk:.1f} to {sigma:.1f} % by σ²{worse} and to {entropy:.1f} % by entropy."
    )


def _matching(answer: Answer) -> str:
    s, without = answer.student, answer.without
    if without is None:
        return ""
    said = (
        f"Uncertainty matching against the same student without it: AUROC of σ² "
        f"{s.auroc[SIGMA].value:.2f} against {without.auroc[SIGMA].value:.2f}, ECE "
        f"{100 * s.reliability.ece:.1f} against {100 * without.reliability.ece:.1f} %"
    )
    if s.matched is not None and without.matched is not None:
        said += (
            f"; its σ² follows its teachers' with a rank correlation of {s.matched:.2f} against "
            f"{without.matched:.2f}"
        )
    return said + "."


def _teachers(s: Evaluation, evaluations: Sequence[Evaluation]) -> str:
    found = [w for w in evaluations if w.system.is_teacher and w.set == s.set and SIGMA in w.auroc]
    if not found:
        return ""
    each = (
        f"{w.system.name} {w.auroc[SIGMA].value:.2f} (entropy {w.auroc[ENTROPY].value:.2f})"
        for w in found
    )
    return f"Teachers' own σ²: {', '.join(each)}."


def _noise(w: Evaluation | None) -> str:
    if w is None:
        return ""
    return (
        f"With white noise at {w.snr:g} dB it is {w.auroc[SIGMA].value:.2f} for σ², "
        f"{w.auroc[ENTROPY].value:.2f} for entropy."
    )
