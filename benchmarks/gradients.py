"""What matching of uncertainties asks of a student beside its other losses, over a training.

    cd egs2/mini_synth/kd1
    python ../../../benchmarks/gradients.py exp/asr_mini_few_student_unc_seed0

trains the student of that experiment again, from its config, and writes nothing. At the first batch
of an epoch the gradient of each term, weighted as in the loss, is taken by itself: its norm over
the parameters that all terms share (not the variance head), and its angle to that of token KD. At
the end, σ² of the spoken token by student and teachers on the validation set, a line a token.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.hubert.models import schedule
from espnet_dice.training import trainer

HEAD = "decoder.variance."
TERMS = ("transcript", "token KD", "CTC", "CTC KD", "matching")


class Watched:
    """A model whose terms are kept apart while it computes its loss.

    Args:
        model: ``uncertainty_kd`` with token KD and matching.
    """

    def __init__(self, model):
        self.model = model
        self.parts: dict[str, torch.Tensor] = {}
        self.shared = [p for n, p in model.named_parameters() if not n.startswith(HEAD)]
        self.variances: list[tuple[np.ndarray, ...]] | None = None
        taught = model.taught
        model.taught = self
        self.taught = taught
        nll, ctc = model.criterion_att, model._calc_ctc_loss
        model.criterion_att = self._kept("transcript", nll)
        model.criterion_att.normalize_length = nll.normalize_length
        model._calc_ctc_loss = lambda *given: self._ctc(ctc(*given))

    def _kept(self, name: str, made) -> Any:
        class Kept(torch.nn.Module):
            def forward(_, *given):
                self.parts[name] = made(*given)
                return self.parts[name]

        return Kept()

    def _ctc(self, found):
        self.parts["CTC"] = found[0]
        return found

    def tokens(self, log_probs, found, valid):
        """Token KD, kept; the sum over the batch, of which the model takes a mean."""
        self.parts["token KD"] = self.taught.tokens(log_probs, found, valid)
        self.utterances = log_probs.size(0)
        return self.parts["token KD"]

    def uncertainty(self, variances, found, valid):
        """Matching, kept."""
        self.parts["matching"] = self.taught.uncertainty(variances, found, valid)
        if self.variances is not None:
            each = [variances, *(t.variances for t in found)]
            self.variances.append(tuple(x[valid].detach().numpy() for x in each))
        return self.parts["matching"]

    def frames(self, log_probs, lengths, found):
        """KD of the CTC branch, kept."""
        self.parts["CTC KD"] = self.taught.frames(log_probs, lengths, found)
        return self.parts["CTC KD"]

    def gradients(self, batch: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Of each term: the norm of its weighted gradient, and its cosine with token KD's."""
        self.parts.clear()
        self.model(**batch)
        model = self.model
        now = schedule.now(model, model.schedules)
        alpha, beta, share = now["kd_alpha"], now["kd_beta"], now["kd_ctc"]
        left, heard, n = 1 - model.ctc_weight, model.ctc_weight, self.utterances
        weights = {
            "transcript": left * (1 - alpha),
            "token KD": left * alpha / n,
            "CTC": heard * (1 - share),
            "CTC KD": heard * share / n,
            "matching": left * alpha * beta / n,
        }
        found = {}
        for name, weight in weights.items():
            got = torch.autograd.grad(
                weight * self.parts[name], self.shared, retain_graph=True, allow_unused=True
            )
            pairs = zip(got, self.shared, strict=True)
            flat = [(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]
            found[name] = torch.cat(flat)
        taught = found["token KD"]
        cosines = {k: torch.cosine_similarity(g, taught, 0).item() for k, g in found.items()}
        return {name: (g.norm().item(), cosines[name]) for name, g in found.items()}


def batches(task, args, mode: str, epoch: int) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """What ESPnet's trainer would take."""
    from espnet2.train.distributed_utils import DistributedOption

    factory = task.build_iter_factory(args, DistributedOption(), mode=mode)
    yield from factory.build_iter(epoch)


def train(experiment: Path, every: int) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of both tables."""
    from espnet2.schedulers.warmup_lr import WarmupLR

    task = trainer.task_class("asr")
    conf = yaml.safe_load((experiment / "config.yaml").read_text(encoding="utf-8"))
    args = argparse.Namespace(**conf)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    model = task.build_model(args)
    (optimizer,) = task.build_optimizers(args, model)
    rate = WarmupLR(optimizer, **args.scheduler_conf)
    watched, rows = Watched(model), []
    for epoch in range(1, args.max_epoch + 1):
        model.train()
        for n, (utts, batch) in enumerate(batches(task, args, "train", epoch)):
            batch["utt_id"] = utts
            if n == 0 and (epoch - 1) % every == 0:
                found = watched.gradients(batch)
                norms = [f"{found[name][0]:.3g}" for name in TERMS]
                cosines = [f"{found[name][1]:+.2f}" for name in ("transcript", "matching")]
                rows.append([str(epoch), *norms, *cosines])
                print(*rows[-1], flush=True)
            optimizer.zero_grad()
            loss, _, _ = model(**batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), args.grad_clip)
            optimizer.step()
            rate.step()
    return rows, spoken(model, watched, task, args)


def spoken(model, watched: Watched, task, args) -> list[list[str]]:
    """σ² of the spoken token on the validation set: token, how often, student, teachers."""
    model.eval()
    by_token: dict[str, list[list[float]]] = defaultdict(list)
    with torch.no_grad():
        for utts, batch in batches(task, args, "valid", 1):
            watched.variances = []
            model(utt_id=utts, **batch)
            lengths, text = batch["text_lengths"], batch["text"]
            said = [[*text[i, :n].tolist(), model.eos] for i, n in enumerate(lengths)]
            flat = [token for one in said for token in one]
            for k, token in enumerate(flat):
                each = [float(x[k, token]) for x in watched.variances[0]]
                by_token[model.token_list[token]].append(each)
    rows = []
    for token, values in sorted(by_token.items(), key=lambda item: -len(item[1])):
        means = np.mean(values, axis=0)
        rows.append([token, str(len(values)), *(f"{x:.3f}" for x in means)])
    whole = np.concatenate([np.array(v) for v in by_token.values()])
    rows.append(["all", str(len(whole)), *(f"{x:.3f}" for x in whole.mean(0))])
    told = [np.corrcoef(whole.T)[i, j] for i, j in ((0, 1), (0, 2), (1, 2))]
    rows.append(
        ["correlation: student and either teacher, teachers", "", *(f"{r:+.2f}" for r in told)]
    )
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=Path, help="exp/asr_<tag> with token KD and matching")
    parser.add_argument("--every", type=int, default=10, help="epochs (default: %(default)s)")
    args = parser.parse_args()
    rows, tokens = train(args.experiment, args.every)
    norms = [f"‖{name}‖" for name in TERMS]
    head = ["epoch", *norms, "cos(transcript, token KD)", "cos(matching, token KD)"]
    names = ["token", "spoken", "σ² student", "σ² teacher 1", "σ² teacher 2"]
    for title, lines in ((head, rows), (names, tokens)):
        print("\n| " + " | ".join(title) + " |")
        print("|---" * len(title) + "|")
        for line in lines:
            print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
