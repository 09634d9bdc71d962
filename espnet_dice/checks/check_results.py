"""Results that a table shows without a word: empty ones, and teachers that should not teach."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from espnet_dice.checks.run_warning import RunWarning, percent
from espnet_dice.export.onnx import ENCODER, ENCODER_INT8
from espnet_dice.results import statistics
from espnet_dice.results.dice_results import LESS_IS_BETTER, means
from espnet_dice.results.model_selection import Candidate

EMPTY, ALIKE, FEW = 0.01, 0.5, 10
NOTHING_RIGHT = 1.0
"""WER of a recogniser that writes nothing; more errors than words are worse than silence."""
FAR_WORSE, FAR = 3.0, 0.5
"""So many times the errors of the best teacher, and this WER at least, is more than a small size
explains: of the recipes' students none has twice its teacher's errors."""
INT8_WORSE = 0.3
"""Points of WER that eight bits may cost."""
TEACHER, STUDENT = "teacher", "student"
WORSE = {
    TEACHER: (
        (
            "another domain than the student's test sets",
            "trained too little",
            "a student that needs no teacher",
        ),
        "train it longer or on more speech, or leave it out",
    ),
    STUDENT: (
        (
            "teachers that are worse than the transcripts",
            "kd_alpha or kd_ctc too high",
            "a schedule that was chosen without KD",
        ),
        "lower kd_alpha and kd_ctc, or choose other teachers",
    ),
}
WORSE_PROBED = (
    ("too few updates", "a layer that tells little"),
    "train it longer; try another --layer or more --clusters",
)


def empty(
    reference: Mapping[str, str], hypothesis: Mapping[str, str], where: str
) -> RunWarning | None:
    """Utterances with words of which nothing was recognised.

    Args:
        reference, hypothesis: utterance → words.
        where: for the warning.
    """
    nothing = [utt for utt, text in reference.items() if text and not hypothesis[utt]]
    if len(nothing) <= EMPTY * len(reference):
        return None
    return RunWarning(
        where,
        f"{len(nothing)} of {len(reference)} results ({percent(len(nothing) / len(reference))}) "
        f"are empty, {min(nothing)} for one",
        (
            "the model has learned too little: CTC emits blanks only",
            "silent audio, or another sampling rate than in training",
            "a penalty or maxlenratio that favours short results",
        ),
        "look at cer_ctc in train.log; hear these utterances; decode with ctc_weight 0",
    )


def alike(
    reference: Mapping[str, str], hypothesis: Mapping[str, str], where: str
) -> RunWarning | None:
    """One result for most utterances, whose transcripts differ."""
    if len(hypothesis) < FEW:
        return None
    text, times = Counter(hypothesis.values()).most_common(1)[0]
    said = max(Counter(reference.values()).values())
    if not text or times <= ALIKE * len(hypothesis) or times <= 2 * said:
        return None
    return RunWarning(
        where,
        f"{times} of {len(hypothesis)} results are the same: {text!r}",
        (
            "the decoder does not hear its encoder: it learned the transcripts only",
            "features or transcripts of other utterances in training",
            "the features of all utterances are alike: silent audio",
        ),
        "compare the validation accuracy with the recipe's CURVES.md; train longer",
    )


def hopeless(students: Sequence[Candidate], teachers: Sequence[Candidate]) -> list[RunWarning]:
    """Recognisers with as many errors as words, and students with far more than the best teacher.

    Args:
        students, teachers: with their errors.
    """
    best = min(teachers, key=lambda c: c.wer.value, default=None)
    learners = {id(one) for one in students}  # candidates hold arrays, which have no plain ==
    found = []
    for one in (*students, *teachers):
        wer = one.wer.value
        lm = f" with LM {one.lm}" if one.lm else ""
        if wer >= NOTHING_RIGHT:
            what = f"{100 * wer:.0f} % WER{lm}: as many errors as words, or more"
        elif best and id(one) in learners and wer >= max(FAR, FAR_WORSE * best.wer.value):
            what = (
                f"{100 * wer:.0f} % WER{lm}, its teacher {best.family} {100 * best.wer.value:.0f} %"
            )
        else:
            continue
        causes = (
            "too few updates, or too little speech",
            "a beam search that goes on behind the end: no maxlenratio, a low ctc_weight",
            "transcripts or features of other utterances",
        )
        do = "compare its curve with the recipe's CURVES.md; train longer, or decode with "
        found.append(RunWarning(f"asr_{one.family}", what, causes, do + "a higher ctc_weight"))
    return found


def int8_worse(report: Mapping[str, Any], where: str) -> RunWarning | None:
    """An int8 encoder with more errors than the full one.

    Args:
        report: ``export.json`` of a recogniser.
        where: for the warning.
    """
    found = report.get("greedy_wer")
    if not found:
        return None
    full, int8 = found[ENCODER], found[ENCODER_INT8]
    if round(int8 - full, 3) <= INT8_WORSE:
        return None
    features = " ".join(report["processor"]["features"]) or "unknown"
    return RunWarning(
        where,
        f"{ENCODER_INT8} has {int8:.1f} % WER by greedy CTC, {ENCODER} {full:.1f} % "
        f"({found['utterances']} utterances of {found['set']})",
        (
            "weights of very different sizes, which eight bits round to few values",
            f"products summed in 16 bits (this processor: {features}; vnni sums in 32)",
        ),
        f"ship {ENCODER}",
    )


def worse_than_untaught(
    candidates: Sequence[Candidate], untaught: Sequence[Candidate], kind: str
) -> list[RunWarning]:
    """Recognisers that are significantly worse than the best student without teachers.

    Args:
        candidates: teachers or students, with their errors on the same sets.
        untaught: students without teachers.
        kind: :data:`TEACHER` or :data:`STUDENT`.
    """
    found = []
    for one in candidates:
        same = [c for c in untaught if c.lm == one.lm and len(c.units) == len(one.units)]
        best = min(same, key=lambda c: c.wer.value, default=None)
        if best is None or best.family == one.family:
            continue
        d = statistics.paired(best.errors, one.errors, best.units)
        if d.value > 0 and d.is_significant:
            lm = f" with LM {one.lm}" if one.lm else ""
            what = (
                f"{kind} of {100 * one.wer.value:.1f} % WER{lm}; the student without KD, "
                f"{best.family}, has {100 * best.wer.value:.1f} %: "
                f"{100 * d.value:.1f} points fewer (95 % interval {100 * d.low:.1f} "
                f"to {100 * d.high:.1f})"
            )
            found.append(RunWarning(f"asr_{one.family}", what, *WORSE[kind]))
    return found


def probes(results: Mapping[str, Any]) -> list[RunWarning]:
    """Probed systems that are no better than no features at all, or than one without a teacher.

    Args:
        results: ``results.json`` of DiceHuBERT.
    """
    floors = {task: probe["floor"] for task, probe in results["probes"].items()}
    scores = {row["system"]: means(row["scores"]) for row in results["systems"]}
    found = []
    for name, mine in scores.items():
        low = [task for task in mine if not _better(task, mine[task], floors[task])]
        if low:
            figures = ", ".join(f"{t} {mine[t]:.1f} (without {floors[t]:.1f})" for t in low)
            found.append(
                RunWarning(
                    f"probes of {name}",
                    f"no better than without any features: {figures}",
                    ("the model has learned nothing", "too few probe utterances or epochs"),
                    "look at its curve; give the probes more by --probe_args",
                )
            )
    kinds = _kinds({row["system"]: row["labels"] for row in results["systems"]})
    for name in (n for n in kinds if kinds[n]):
        for other in (n for n in kinds if not kinds[n]):
            tasks = sorted(scores[name].keys() & scores[other].keys())
            if tasks and all(_better(t, scores[other][t], scores[name][t]) for t in tasks):
                figures = ", ".join(
                    f"{t} {scores[name][t]:.1f} ({scores[other][t]:.1f})" for t in tasks
                )
                what = f"{kinds[name]} worse than {other}, which had none, on every task: {figures}"
                found.append(RunWarning(f"probes of {name}", what, *WORSE_PROBED))
    return found


def _kinds(labels: Mapping[str, str]) -> dict[str, str]:
    """System → teacher, student, or nothing for one that learned the labels of no system."""
    teachers = [n for n in labels if any(theirs.startswith(f"{n}_l") for theirs in labels.values())]
    kinds = {}
    for name, learned in labels.items():
        taught = any(learned.startswith(f"{t}_l") for t in teachers)
        if name in teachers or learned:
            kinds[name] = TEACHER if name in teachers else STUDENT if taught else ""
    return kinds


def _better(task: str, one: float, other: float) -> bool:
    return one < other if LESS_IS_BETTER[task] else one > other
