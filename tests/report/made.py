"""A small made-up experiment: what the stages would have left, written by hand."""

import json
from pathlib import Path

import numpy as np
import soundfile

from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.records.train_log import LOG

EVIL = '<script>window.evil=1</script>"><img src=x onerror="window.evil=2">'
WORDS = "ONE TWO SIX TEN CAT DOG".split()
TOKENS = ["<blank>", "<unk>", "▁", *"ACDEGINOSTWX", "<sos/eos>"]
UTTERANCES = 24


def texts(seed: int = 0) -> dict[str, str]:
    rng = np.random.default_rng(seed)
    return {f"u{k:02}": " ".join(rng.choice(WORDS, rng.integers(2, 6))) for k in range(UTTERANCES)}


def spoilt(reference: dict[str, str], share: float, seed: int) -> dict[str, str]:
    """Every so many words another one, one left out, or one more."""
    rng = np.random.default_rng(seed)
    found = {}
    for utt, text in reference.items():
        words = []
        for word in text.split():
            kind = rng.choice(4, p=[1 - share, share / 2, share / 4, share / 4])
            words += [[word], ["RAT"], [], [word, "OX"]][kind]
        found[utt] = " ".join(words)
    return found


def write(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(value, str):
        value = json.dumps(value)
    path.write_text(value, encoding="utf-8")


def table(texts: dict[str, str]) -> str:
    return "".join(f"{utt} {text}".rstrip() + "\n" for utt, text in texts.items())


def log(epochs: int, statistics: dict[str, float], start: int = 1) -> str:
    """Lines as ESPnet's reporter writes them."""
    lines = []
    for epoch in range(start, start + epochs):
        said = ", ".join(f"{k}={v / epoch:.3f}" for k, v in statistics.items())
        lines.append(
            f"2026-01-01 00:00:00,000 (trainer:394) INFO: {epoch}epoch results: [train] {said}, "
            f"optim0_lr0={1e-4 * epoch:.3e}, grad_norm=nan, train_time=0.2, time=1 minute and "
            f"{epoch}.5 seconds, total_count=10, [valid] {said}, time=0.5 seconds, total_count=2, "
            "[att_plot] time=2 seconds, total_count=0"
        )
    return "\n".join(lines) + "\n"


def certainties(reference: dict[str, str], head: bool, seed: int) -> dict[str, np.ndarray]:
    """σ² that is large where a token is wrong, so that there is something to find."""
    rng = np.random.default_rng(seed)
    ids = {t: i for i, t in enumerate(TOKENS)}
    each = [
        [*(ids[c] for word in text.split() for c in "▁" + word), ids["<sos/eos>"]]
        for text in reference.values()
    ]
    arrays = {"utterances": np.array(sorted(reference)), "tokens": np.array(TOKENS)}
    for which in ("ref", "hyp"):
        flat = np.concatenate(each)
        wrong = rng.random(len(flat)) < 0.2
        sure = np.where(wrong, rng.uniform(0.3, 0.8, len(flat)), rng.uniform(0.6, 1, len(flat)))
        measures = {
            "ids": flat,
            "top": np.where(wrong, (flat + 1) % len(TOKENS), flat),
            "p": np.where(wrong, 1 - sure, sure),
            "confidence": sure,
            "entropy": 1 - sure,
        }
        if head:
            measures |= {"variance": rng.random(len(flat)), "p_noisy": measures["p"]}
            measures |= {"variance_top": wrong + rng.random(len(flat)), "confidence_noisy": sure}
            measures |= {"variance_share": rng.random(len(flat)), "information": sure / 10}
            measures |= {"entropy_noisy": 1.1 - sure, "entropy_draws": 1 - 0.9 * sure}
        arrays |= {f"{which}_{k}": v for k, v in measures.items()}
        arrays[f"{which}_ends"] = np.cumsum([len(e) for e in each])
    return arrays


def system(
    exp: Path,
    name: str,
    reference: dict[str, str],
    share: float,
    seed: int,
    conf: dict | None = None,
    head: bool = True,
    lms: tuple[str | None, ...] = (None,),
    parameters: int = 200_000,
    note: str = "",
    number: int = 0,
) -> None:
    """A recogniser, ``number`` its seed: model, fingerprint, log, decodings, uncertainty."""
    directory = exp / f"asr_{name}"
    sha = f"sha of {name}"
    model = {
        "task": "asr",
        "model": "m.pth",
        "sha256": sha,
        "parameters": parameters,
        "seed": number,
    }
    write(directory / "model.json", model | {"max_epoch": 3, "averaged": [[3, 0.9]], "seconds": 90})
    settings = {"config": {"model_conf": conf or {}, "note": note}, "seed": 0}
    if conf:  # the config need not name the teachers
        settings["teaching"] = {"mode": "cached", "teachers": [{"name": "t", "weight": 1.0}]}
    Fingerprint("train_asr", settings, {"train": "t"}).finish(directory)
    stats = {"loss": 30 + seed, "loss_nll": 20 + seed, "acc": 0.1 + 0.01 * seed, "variance": 0.3}
    write(directory / LOG, log(3, stats))
    for lm in lms:
        out = directory / f"decode_{'lm_' + lm if lm else 'no_lm'}" / "test"
        write(out / "text", table(spoilt(reference, share * (0.9 if lm else 1), seed)))
        meta = {"system": name, "set": "test", "lm": lm, "reference": "dump/x/test/text"}
        meta |= {"model": sha, "parameters": parameters, "seed": number, "cpu_s_per_audio_s": 0.02}
        write(out / "meta.json", meta)
        Fingerprint("decode", {}, {"model": sha}).finish(out)
    for noise in ("", "_snr10"):
        out = directory / "uncertainty" / f"test{noise}"
        out.mkdir(parents=True, exist_ok=True)
        np.savez(out / "tokens.npz", **certainties(reference, head, seed))
        Fingerprint("uncertainty", {}, {"model": sha}).finish(out)


def recognisers(root: Path, evil: bool = False) -> Path:
    """A kd1 experiment: two students, one of them taught, and a teacher, with sound."""
    exp, reference = root / "exp", texts()
    if evil:
        reference["u00"] = EVIL
    write(root / "dump/x/test/text", table(reference))
    rng = np.random.default_rng(0)
    (root / "data/test").mkdir(parents=True)
    for utt in reference:
        soundfile.write(root / f"data/test/{utt}.wav", 0.1 * rng.normal(size=4000), 16000)
    write(root / "data/test/wav.scp", table({u: f"{u}.wav" for u in reference}))
    write(root / "data/test/text", table(reference))
    write(root / "data/test/utt2spk", table(dict.fromkeys(reference, "s")))
    taught = {"kd_alpha": 0.5, "kd_beta": 0.3}
    teacher = "teacher_t"
    safe = {u: t for u, t in reference.items() if t != EVIL} | ({"u00": "ONE"} if evil else {})
    note = EVIL if evil else ""
    system(exp, teacher, safe, 0.1, 1, parameters=900_000)
    system(exp, "student_seed0", safe, 0.5, 2, head=False, lms=(None, "tiny"))
    system(exp, "student_unc_seed0", safe, 0.15, 3, taught, lms=(None, "tiny"), note=note)
    if evil:
        out = exp / "asr_student_unc_seed0/decode_no_lm/test/text"
        lines = [line for line in out.read_text().splitlines() if not line.startswith("u00")]
        out.write_text("\n".join([f"u00 {EVIL}", *lines]) + "\n")
    return exp


def hubert(root: Path) -> Path:
    """A dice1 experiment: a teacher and two students, probed."""
    exp = root / "exp"
    rows = []
    for name, char, sid in (("teacher_it1_seed0", 30, 90), ("narrow_hard_seed0", 45, 70),
                            ("narrow_soft_seed0", 50, 60)):  # fmt: skip
        rows.append(
            {"system": name, "loss": "hard", "labels": "l", "parameters": 10**6, "seed": 0,
             "cpu_s_per_audio_s": 0.01, "scores": {"char": {"0": char}, "sid": {"0": sid}}}
        )  # fmt: skip
        directory = exp / f"dice_{name}"
        model = {"sha256": name, "seed": 0, "max_epoch": 2, "parameters": 10**6}
        write(directory / "model.json", model)
        Fingerprint("train_dice", {"config": {"loss": "hard"}}, {}).finish(directory)
        write(directory / LOG, log(2, {"loss": 3.0, "acc_m": 0.4, "acc_u": 0.5}))
    probe = {"about": "chars", "floor": 100.0, "train": 5, "dev": 4, "test": 3, "made_from": {}}
    write(
        exp / "results.json",
        {"systems": rows, "spread": [], "probes": {"char": probe, "sid": probe}},
    )
    store = {"source": "exp/dice_teacher_it1_seed0", "layer": 3, "clusters": 100,
             "clusters_used": 97, "perplexity": 88.5,
             "frames": 1000, "bytes_per_frame": 26}  # fmt: skip
    write(exp / "labels/l/train/store.json", store)
    for name, errors in (("narrow_hard_seed0", (14, 18)), ("mfcc", (20, 30))):
        worse = {"within": errors[0] + 1.0, "across": errors[1] + 1.0}
        layers = {"0": worse, "3": {"within": float(errors[0]), "across": float(errors[1])}}
        scored = {"system": name, "layers": layers, "cells": {"within": 90, "across": 80}}
        scored |= {"utterances": 7, "made_from": {"inputs": {"upstream": "k"}}}
        write(exp / f"abx/{name}.json", scored)
    onnx = {
        "model.onnx": {"relative_error": 1e-7, "bytes": 10**6, "seconds_per_audio_second": 0.004}
    }
    write(exp / "dice_narrow_hard_seed0/export/export.json", {"onnx": onnx})
    return exp
