"""What teachers cost a training step: plain, cached (one and two), online; ratios in one run.

    python benchmarks/kd_step.py [--config conf/train_asr_mini_student.yaml] [--repeats 20]

The variants take turns, so that a noisy machine slows all alike. CPU time of the process, which is
what a training on two cores pays; the batch is random, its cached outputs are read from a real ark.
"""

import argparse
import copy
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import espnet_dice
from espnet_dice.io.arks import ArkReader, write_ark_scp
from espnet_dice.kd import cache
from espnet_dice.stages.settings import read_config
from espnet_dice.stages.tokens import TOKENS

FRAMES, TOKENS_PER_UTT, DIM = 100, 15, 83


def build(task, conf: dict, model_conf: dict):
    """A model from a training config, with more keys in its model_conf."""
    full = task.get_default_config()
    full.update(copy.deepcopy(conf))
    full.update(token_list=list(TOKENS), input_size=DIM, frontend=None, normalize=None)
    full["model_conf"] = {**full["model_conf"], "report_cer": False, **model_conf}
    torch.manual_seed(0)
    return task.build_model(argparse.Namespace(**full)).train()


def cached_batch(batch: dict, scp: Path, names: list[str]) -> dict:
    """Read the teachers' matrices as the data loader does, and pad them."""
    more = {}
    reader = ArkReader(scp)
    for name in names:
        rows = [torch.from_numpy(reader[f"utt{i}"]) for i in range(len(batch["text"]))]
        more[name] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        more[f"{name}_lengths"] = torch.tensor([len(r) for r in rows])
    return {**batch, **more}


def main() -> None:
    """Print a table of CPU seconds a step and their ratio to the plain step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="conf/train_asr_mini_student.yaml")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    espnet_dice.register()
    from espnet2.tasks.asr import ASRTask

    conf = read_config(args.config)
    rng = np.random.default_rng(0)
    n, vocab = args.batch_size, len(TOKENS)
    text = torch.from_numpy(rng.integers(2, vocab - 1, (n, TOKENS_PER_UTT)))
    batch = {
        "speech": torch.from_numpy(rng.normal(size=(n, FRAMES, DIM)).astype("f4")),
        "speech_lengths": torch.full((n,), FRAMES),
        "text": text,
        "text_lengths": torch.full((n,), TOKENS_PER_UTT),
    }
    kd = {"kd_alpha": 0.7, "kd_beta": 0.3}
    one, two = ([{"name": c, "weight": 1 / k} for c in "ab"[:k]] for k in (1, 2))
    beside = {"teachers": [{**one[0], "exp": "-"}], "teacher_mode": "online"}
    online = build(ASRTask, conf, {**kd, **beside})
    online._online.models = [build(ASRTask, conf, {}).eval().requires_grad_(False)]
    with tempfile.TemporaryDirectory() as tmp:
        scp = Path(tmp) / "teacher.scp"
        matrices = []
        for i in range(n):
            p = rng.dirichlet(np.ones(vocab), TOKENS_PER_UTT + 1)
            ids = np.append(text[i].numpy(), vocab - 1)
            matrices.append((f"utt{i}", cache.pack(np.log(p + 1e-9), p, ids)))
        write_ark_scp(matrices, Path(tmp) / "teacher.ark", scp)
        variants = {
            "no KD": (build(ASRTask, conf, {}), lambda: batch),
            "1 cached teacher": (
                build(ASRTask, conf, {**kd, "teachers": one}),
                lambda: cached_batch(batch, scp, ["teacher1"]),
            ),
            "2 cached teachers": (
                build(ASRTask, conf, {**kd, "teachers": two}),
                lambda: cached_batch(batch, scp, ["teacher1", "teacher2"]),
            ),
            "1 online teacher": (online, lambda: batch),
        }
        seconds = {name: [] for name in variants}
        optims = {k: torch.optim.AdamW(m.parameters(), lr=1e-4) for k, (m, _) in variants.items()}
        for turn in range(args.repeats + 2):
            for name, (model, data) in variants.items():
                start = time.process_time()
                loss, _, _ = model(**data())
                optims[name].zero_grad()
                loss.backward()
                optims[name].step()
                if turn >= 2:
                    seconds[name].append(time.process_time() - start)
    print(f"{args.config}, batch {n}, {args.repeats} turns, CPU time, median (quartiles)\n")
    print("| step | ms | ratio to no KD |\n|---|---|---|")
    plain = np.array(seconds["no KD"])
    for name, values in seconds.items():
        low, mid, high = np.percentile(np.array(values) / plain, [25, 50, 75])
        print(f"| {name} | {1e3 * np.median(values):.0f} | {mid:.3f} ({low:.3f}–{high:.3f}) |")


if __name__ == "__main__":
    main()
