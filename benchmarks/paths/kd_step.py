"""What teachers cost a training step of a recogniser: cached (one and two), or beside it.

Bound by operations: a plain step, and per token the losses over 31 tokens; the cached outputs are
read from a real ark, 0.5 kB a token. The embedded corpus's student, 0.20 M parameters: of larger
ones the teachers' share is less.
"""

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Row, alternate, median, ratio
from espnet_dice.io.arks import ArkReader, write_ark, write_scp
from espnet_dice.kd import cache
from espnet_dice.records.configs import read_config
from espnet_dice.records.tokens import TOKENS

CONFIG = Path(__file__).resolve().parents[2] / "conf/train_asr_mini_student.yaml"
BATCH, FRAMES, TOKENS_PER_UTT, DIM = 16, 100, 15, 83
TURNS = 15
"""Times as many as of paths whose turns take seconds."""


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


def training(model, data: Callable[[], dict]) -> Callable[[], None]:
    """A step: read, forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        loss, _, _ = model(**data())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def rows(options: Any) -> Iterator[Row]:
    """Each kind of teaching beside none."""
    import espnet_dice
    from espnet_dice.training.trainer import quiet_import

    torch.set_num_threads(1)
    espnet_dice.register()
    with quiet_import():
        from espnet2.tasks.asr import ASRTask

    conf = read_config(CONFIG)
    rng = np.random.default_rng(0)
    vocab = len(TOKENS)
    text = torch.from_numpy(rng.integers(2, vocab - 1, (BATCH, TOKENS_PER_UTT)))
    batch = {
        "speech": torch.from_numpy(rng.normal(size=(BATCH, FRAMES, DIM)).astype("f4")),
        "speech_lengths": torch.full((BATCH,), FRAMES),
        "text": text,
        "text_lengths": torch.full((BATCH,), TOKENS_PER_UTT),
    }
    kd = {"kd_alpha": 0.7, "kd_beta": 0.3}
    one, two = ([{"name": c, "weight": 1 / k} for c in "ab"[:k]] for k in (1, 2))
    beside = {"teachers": [{**one[0], "exp": "-"}], "teacher_mode": "online"}
    online = build(ASRTask, conf, {**kd, **beside})
    online._online.models = [build(ASRTask, conf, {}).eval().requires_grad_(False)]
    cached = [build(ASRTask, conf, {**kd, "teachers": teachers}) for teachers in (one, two)]
    plain = "no teacher"
    with tempfile.TemporaryDirectory() as tmp:
        scp = Path(tmp) / "teacher.scp"
        matrices = []
        for i in range(BATCH):
            p = rng.dirichlet(np.ones(vocab), TOKENS_PER_UTT + 1)
            ids = np.append(text[i].numpy(), vocab - 1)
            matrices.append((f"utt{i}", cache.pack(np.log(p + 1e-9), p, ids)))
        ark = Path(tmp) / "teacher.ark"
        index = write_ark(matrices, ark)
        write_scp(((utt, ark, offset) for utt, (offset, _, _) in index.items()), scp)

        def read(n: int) -> dict:
            return cached_batch(batch, scp, [f"teacher{k + 1}" for k in range(n)])

        steps = {
            plain: training(build(ASRTask, conf, {}), lambda: batch),
            "1 cached teacher": training(cached[0], lambda: read(1)),
            "2 cached teachers": training(cached[1], lambda: read(2)),
            "1 teacher of its size beside it": training(online, lambda: batch),
        }
        spent = alternate(steps, TURNS * options.turns, 2)
    for name, goal in zip(list(steps)[1:], ("kd 1", "kd 2", None), strict=True):
        figure = ratio(spent[name], spent[plain])
        costs = median(spent[name]), median(spent[plain])
        yield Row(name, plain, "of its time", figure, goal, *costs)
