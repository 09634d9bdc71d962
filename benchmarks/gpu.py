"""The first quarter of an hour on a GPU: is it right there, and what does it cost.

    python benchmarks/gpu.py                          # on cuda, under ten minutes
    python benchmarks/gpu.py --device cpu --quick     # the same checks where there is none

Right: three float32 steps of every loss give what they give on the CPU; k-means, labels and records
of features there are those of the CPU; 2000 steps in bfloat16 stay finite and learn. Cost: a step's
seconds and peak memory beside ESPnet's and Hugging Face's HuBERT. Ends with 1 where a check fails.
"""

import argparse
import copy
import json
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import cost_of
from benchmarks.paths import kd_step, student_step
from benchmarks.paths.mixture import mixture

FLOAT32 = 1e-3
"""Relative difference of losses and gradients after three steps; sums have another order there."""
INERTIA = 1e-3
"""Relative difference of k-means: local minima part from the first frame that ties."""
STEPS, QUICK_STEPS = 2000, 20
SMALL = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3}
STILL = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "feat_proj_dropout", "activation_dropout", "layerdrop"),
    0.0,
)
K = 32


@dataclass
class Check:
    """What was looked at, whether it is right (None: a figure only), and what was seen."""

    name: str
    right: bool | None
    seen: str


def dice(loss: list[dict[str, Any]], stem: str = "full", **conf) -> torch.nn.Module:
    """A small DiceHuBERT without chance but its masks, with its codebook and its teacher."""
    from espnet_dice.dice.model import DiceHubertModel
    from espnet_dice.hubert.frozen import FrozenSSLModel
    from espnet_dice.hubert.models import students

    torch.manual_seed(0)
    sizes = {**SMALL, **STILL, "num_attention_heads": 4, "stem": stem}
    sizes |= {"num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 4}
    sizes["conv_dim"] = [64] * (2 if stem == "mel" else 7)
    model = DiceHubertModel(students.build("hubert", sizes), loss, n_clusters=K, **conf).train()
    if "dice_soft" in model.terms:
        model.terms["dice_soft"]._soft._tables = [codebook().as_dict()]
    if "dice_feature" in model.terms:
        frozen = FrozenSSLModel(students.build("hubert", sizes), "key", "made")
        model.terms["dice_feature"]._teacher.append(frozen)
    return model


def codebook():
    """Of K clusters of made features."""
    from espnet_dice.labels import codec

    features = mixture(4000, 64)
    return codec.fit(features[:K].copy(), features)


def dice_batch(records: bool, seconds: float = 2.0, size: int = 4) -> dict[str, Any]:
    """Noise and labels; two lengths."""
    from espnet_dice.hubert.models.frames import n_frames

    samples = [int(seconds * 16000) - 1600 * (i % 2) for i in range(size)]
    frames = [n_frames(n) for n in samples]
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(K, (size, max(frames)), generator=generator, dtype=torch.int32)
    if records:
        rows = codebook().encode(mixture(size * max(frames), 64, seed=1)).astype(np.int32)
        labels = torch.from_numpy(rows).view(size, max(frames), -1)
    return {
        "speech": torch.randn(size, max(samples), generator=generator),
        "speech_lengths": torch.tensor(samples),
        "labels": labels,
        "labels_lengths": torch.tensor(frames),
        "utt_id": [f"utt{i}" for i in range(size)],
    }


def recogniser(**model_conf) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The embedded corpus's student without chance, and a batch with what a teacher said."""
    import espnet_dice
    from espnet_dice.training.trainer import quiet_import

    espnet_dice.register()
    with quiet_import():
        from espnet2.tasks.asr import ASRTask

    conf = kd_step.read_config(kd_step.CONFIG)
    teachers = [{"name": "a", "weight": 1.0}]
    model = kd_step.build(ASRTask, conf, {**model_conf, "teachers": teachers})
    model.specaug, model.decoder.train_samples = None, 0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rng, vocab = np.random.default_rng(0), len(kd_step.TOKENS)
    size, length = kd_step.BATCH, kd_step.TOKENS_PER_UTT
    text = torch.from_numpy(rng.integers(2, vocab - 1, (size, length)))
    said = rng.dirichlet(np.ones(vocab), (size, length + 1)).astype("f4")
    ids = np.pad(text.numpy(), ((0, 0), (0, 1)), constant_values=vocab - 1)
    rows = np.concatenate([np.log(said + 1e-9), said, ids[..., None]], -1).astype("f4")
    speech = rng.normal(size=(size, kd_step.FRAMES, kd_step.DIM)).astype("f4")
    return model, {
        "speech": torch.from_numpy(speech),
        "speech_lengths": torch.full((size,), kd_step.FRAMES),
        "text": text,
        "text_lengths": torch.full((size,), length),
        "teacher1": torch.from_numpy(rows),
        "teacher1_lengths": torch.full((size,), length + 1),
    }


def three_steps(model: torch.nn.Module, batch: dict[str, Any], device: str) -> list[torch.Tensor]:
    """Losses and gradients, on the CPU."""
    model = copy.deepcopy(model).to(device)
    given = {k: x.to(device) if isinstance(x, torch.Tensor) else x for k, x in batch.items()}
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    found = []
    torch.manual_seed(0)
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(**given)[0].sum()
        loss.backward()
        optimizer.step()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found += [loss.detach().cpu().double(), torch.cat(grads).cpu().double()]
    return found


def golden(device: str) -> Iterator[Check]:
    """Three steps there and on the CPU."""
    hard, soft = {"name": "dice_hard"}, {"name": "dice_soft"}
    layers = {"layers": [[1, 1], [3, 3]], "teacher_dim": SMALL["hidden_size"]}
    feature = {"name": "dice_feature", "conf": layers}
    made = {
        "dice_hard": (lambda: dice([hard]), False),
        "dice_soft": (lambda: dice([soft]), True),
        "dice_feature, penalty": (lambda: dice([hard, feature], features_pen=10.0), False),
        "heads at two layers": (lambda: dice([hard], heads=[{"layer": 1}, {"layer": 3}]), False),
        "stem: mel": (lambda: dice([hard], "mel"), False),
    }
    pairs = {name: (make(), dice_batch(bool(records))) for name, (make, records) in made.items()}
    pairs["uncertainty_kd"] = recogniser(kd_alpha=0.7, kd_beta=0.3)
    for name, (model, batch) in pairs.items():
        yield compared(name, model, batch, device)


def compared(name: str, model: torch.nn.Module, batch: dict[str, Any], device: str) -> Check:
    """Losses and gradients of three steps there and on the CPU."""
    here, there = (three_steps(model, batch, where) for where in ("cpu", device))
    worst = max(((a - b).norm() / a.norm()).item() for a, b in zip(here, there, strict=True))
    return Check(f"{name}, three steps", worst < FLOAT32, f"relative difference {worst:.1e}")


def labelling(device: str, frames: int) -> Iterator[Check]:
    """k-means, hard labels and records there and on the CPU."""
    from espnet_dice.labels import kmeans, targets

    features = torch.from_numpy(mixture(frames, 300))
    there = features.to(device)
    begin = time.perf_counter()
    theirs = kmeans.fit(there, K, seed=0)
    took = time.perf_counter() - begin
    ours = kmeans.fit(features, K, seed=0)
    a, b = (kmeans.inertia(features, c) for c in (ours, theirs))
    yield Check("k-means", abs(b / a - 1) < INERTIA, f"inertia {b / a - 1:+.1e}; {took:.1f} s")
    same = torch.equal(targets.hard_labels(there, ours).cpu(), targets.hard_labels(features, ours))
    yield Check("hard labels", same, f"{frames} frames, equal: {same}")
    book = codebook()
    share = float((book.encode(there) == book.encode(features.numpy())).mean())
    # a coordinate on the edge between two levels may fall on either side
    yield Check("records", share > 0.9999, f"{100 * share:.4f} % of the words equal")


def bfloat16(device: str, steps: int) -> Iterator[Check]:
    """Many steps; the model itself stops where a loss is not finite."""
    model = dice([{"name": "dice_hard"}, {"name": "dice_soft"}]).to(device)
    batch = dice_batch(True)
    given = {k: x.to(device) if isinstance(x, torch.Tensor) else x for k, x in batch.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    lost = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast(device.partition(":")[0], torch.bfloat16):
            loss = model(**given)[0].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        lost.append(loss.detach())
    values = torch.stack(lost).cpu()
    n = max(1, steps // 10)
    first, last = values[:n].mean().item(), values[-n:].mean().item()
    finite = bool(values.isfinite().all()) and all(p.isfinite().all() for p in model.parameters())
    said = f"loss {first:.2f} → {last:.2f}"
    yield Check(f"{steps} steps in bfloat16", finite and last < first, said)


def cost(device: str, turns: int) -> Iterator[Check]:
    """A step of a student of 12 layers of 384 beside others' of the same sizes."""
    from espnet_dice.training.trainer import quiet_import

    with quiet_import():
        import espnet2.hubert.espnet_model  # noqa: F401
    on_gpu = device.startswith("cuda")
    models = {
        "our step": (student_step.ours, student_step.our_loss),
        "our step, stem: mel": (lambda: student_step.ours(stem="mel"), student_step.our_loss),
        "ESPnet's step": (student_step.espnets, student_step.espnets_loss),
        "Hugging Face's step": (student_step.HuggingFaces, student_step.huggingfaces_loss),
    }
    for name, (make, loss) in models.items():
        step = student_step.training(make(), student_step.batch(device), loss)
        for _ in range(turns - 1):
            step()
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        measure = student_step.device_cost if on_gpu else cost_of
        seconds = sorted(measure(step).cpu_s for _ in range(turns))[turns // 2]
        peak = f", peak {torch.cuda.max_memory_allocated() / 1e6:.0f} MB" if on_gpu else ""
        yield Check(name, None, f"{1e3 * seconds:.1f} ms{peak}")
    if on_gpu:
        row = student_step._fraction_of_peak(student_step.batch(device))
        yield Check(f"our step, of the {row.beside}", None, f"{100 * row.figure[1]:.1f} %")


def main() -> int:
    """See above; 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="few steps and few frames")
    parser.add_argument("--out", type=Path, help="a JSON file for what was seen")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no GPU that torch can use; --device cpu goes through the same steps")
    warnings.simplefilter("ignore")
    # golden values are float32's
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    quick, device = options.quick, options.device
    parts = (
        golden(device),
        labelling(device, 5000 if quick else 100_000),
        bfloat16(device, QUICK_STEPS if quick else STEPS),
        cost(device, 1 if quick else 15),
    )
    found = []
    for check in (check for part in parts for check in part):
        word = {True: "right", False: "WRONG", None: "     "}[check.right]
        print(f"{word}  {check.name}: {check.seen}", flush=True)
        found.append(check)
    if options.out:
        options.out.write_text(json.dumps([asdict(c) for c in found], indent=1) + "\n")
    return int(any(check.right is False for check in found))


if __name__ == "__main__":
    sys.exit(main())
