"""A training step of a narrow HuBERT student: forward, loss, backward, AdamW.

Beside ESPnet's (``torchaudio_hubert`` with torchaudio's model) and Hugging Face's HubertModel with
the same head; the same architecture (12 layers of 384, 12 heads), dropouts, batch, masks and
labels; layerdrop 0, so that all run the same blocks. The last line is the same student with
``stem: mel`` beside the first. Bound by operations: 6 a parameter and frame,
and the convolutions at 16 kHz. On a GPU: bfloat16, by device events, with the fraction of the
peak.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.measure import RATE, Cost, Row, alternate, cost_of, faster, fixed

BATCH, SECONDS, K = 2, 5.0, 500
SAMPLES = int(SECONDS * RATE)
FRAMES = (SAMPLES - 400) // 320 + 1
WIDTH, INNER, HEADS, LAYERS, FINAL = 384, 1536, 12, 12, 256
DROPOUT = 0.1
PEAK_BF16 = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 FLOP/s of tensor cores, from the makers' data sheets."""


def batch(device: str = "cpu") -> dict[str, torch.Tensor]:
    """Noise, labels and one mask for all, 57 % of the frames."""
    g = torch.Generator().manual_seed(0)
    from espnet_dice.hubert.models import mask

    spans = [mask.span_mask(FRAMES, mask.utterance_rng(0, str(i)), 0.8, 10) for i in range(BATCH)]
    return {
        "speech": torch.randn(BATCH, SAMPLES, generator=g).to(device),
        "speech_lengths": torch.full((BATCH,), SAMPLES, device=device),
        "labels": torch.randint(K, (BATCH, FRAMES), generator=g, dtype=torch.int32).to(device),
        "labels_lengths": torch.full((BATCH,), FRAMES, device=device),
        "mask": mask.pad_masks(spans, FRAMES).to(device),
    }


def ours(attention_dropout: float = DROPOUT, stem: str = "full") -> torch.nn.Module:
    """Our model, as the recipe's narrow configs build it."""
    from espnet_dice.dice.model import DiceHubertModel
    from espnet_dice.hubert.models import students

    torch.manual_seed(0)
    conf = {"size": "narrow_d2", "num_attention_heads": HEADS, "layerdrop": 0.0, "stem": stem}
    conf["attention_dropout"] = attention_dropout
    student = students.build("hubert", conf)
    return DiceHubertModel(student, [{"name": "dice_hard"}], K).train()


def our_loss(model: torch.nn.Module, b: dict[str, torch.Tensor]) -> torch.Tensor:
    """Forward with the batch's masks."""
    model._masks = lambda frames, utts, mask_prob: b["mask"].cpu()
    given = {k: b[k] for k in ("speech", "speech_lengths", "labels", "labels_lengths")}
    return model(**given)[0]


def espnets() -> torch.nn.Module:
    """ESPnet's model of its hubert task."""
    from espnet2.asr.encoder.hubert_encoder import TorchAudioHuBERTPretrainEncoder
    from espnet2.hubert.espnet_model import TorchAudioHubertPretrainModel

    torch.manual_seed(0)
    encoder = TorchAudioHuBERTPretrainEncoder(
        input_size=1,
        encoder_embed_dim=WIDTH,
        encoder_num_layers=LAYERS,
        encoder_num_heads=HEADS,
        encoder_ff_interm_features=INNER,
        encoder_attention_dropout=DROPOUT,
        encoder_layer_drop=0.0,
        num_classes=K,
        final_dim=FINAL,
    )
    none = {"frontend": None, "specaug": None, "normalize": None, "preencoder": None}
    tokens = [str(i) for i in range(K)]
    return TorchAudioHubertPretrainModel(K, tokens, encoder=encoder, **none).train()


class GivenMask(torch.nn.Module):
    """In the place of torchaudio's mask generator."""

    def __init__(self, generator: torch.nn.Module, mask: torch.Tensor):
        super().__init__()
        self.mask_embedding = generator.mask_embedding
        self.mask = mask

    def forward(self, x: torch.Tensor, padding_mask: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the embedding where the mask is."""
        x[self.mask] = self.mask_embedding.to(x.dtype)
        return x, self.mask


def espnets_loss(model: torch.nn.Module, b: dict[str, torch.Tensor]) -> torch.Tensor:
    """Forward with the batch's masks."""
    inner = model.encoder.hubert_pretrain_model
    if not isinstance(inner.mask_generator, GivenMask):
        inner.mask_generator = GivenMask(inner.mask_generator, b["mask"])
    text = b["labels"].long()
    return model(b["speech"].clone(), b["speech_lengths"], text, b["labels_lengths"])[0]


class HuggingFaces(torch.nn.Module):
    """HubertModel and the head of HuBERT."""

    def __init__(self):
        from transformers import HubertConfig, HubertModel

        from espnet_dice.dice.head import CosineHead

        super().__init__()
        torch.manual_seed(0)
        config = HubertConfig(
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=INNER,
            layerdrop=0.0,
            hidden_dropout=DROPOUT,
            attention_dropout=DROPOUT,
            activation_dropout=0.0,
            feat_proj_dropout=DROPOUT,
        )
        self.model = HubertModel(config)
        self.head = CosineHead(WIDTH, K, FINAL)


def huggingfaces_loss(model: torch.nn.Module, b: dict[str, torch.Tensor]) -> torch.Tensor:
    """Forward, and cross-entropy over masked frames."""
    hidden = model.model(b["speech"], mask_time_indices=b["mask"]).last_hidden_state
    logits = model.head(hidden)
    return torch.nn.functional.cross_entropy(logits[b["mask"]], b["labels"][b["mask"]].long())


def training(
    model: torch.nn.Module,
    b: dict[str, torch.Tensor],
    loss: Callable[[torch.nn.Module, dict], torch.Tensor] = our_loss,
) -> Callable[[], None]:
    """A step: forward, backward, clipping, AdamW; in bfloat16 on a GPU."""
    device = b["speech"].device.type
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device == "cuda")

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            value = loss(model, b)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    return step


def device_cost(call: Callable[[], Any]) -> Cost:
    """Seconds of the GPU between two events, and of the clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def timed() -> None:
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()

    took = cost_of(timed)
    return Cost(start.elapsed_time(end) / 1e3, took.wall_s)


def rows(options: Any) -> Iterator[Row]:
    """On one thread of the CPU; on a GPU where there is one."""
    from espnet_dice.training.trainer import quiet_import

    torch.set_num_threads(1)
    with quiet_import():
        import espnet2.hubert.espnet_model  # noqa: F401
    models = {
        "student step": (ours, our_loss),
        "without attention dropout": (lambda: ours(0.0), our_loss),
        "ESPnet's, torchaudio": (espnets, espnets_loss),
        "Hugging Face's HubertModel": (HuggingFaces, huggingfaces_loss),
        "with the mel stem": (lambda: ours(stem="mel"), our_loss),
    }
    yield from _beside(models, batch(), "student step", options.turns, cost_of, "")
    if not torch.cuda.is_available():
        yield Row("student step, bf16 on a GPU", "ESPnet's", "", None, "student step gpu")
        return
    device = batch("cuda")
    yield from _beside(
        models, device, "student step gpu", 3 * options.turns, device_cost, ", bf16 on a GPU"
    )
    yield _fraction_of_peak(device)


def _beside(models, b, goal: str, turns: int, cost: Callable, suffix: str) -> Iterator[Row]:
    calls = {name: training(make(), b, loss) for name, (make, loss) in models.items()}
    spent = alternate(calls, turns, 1, cost)
    plain, undropped, theirs, hf, mel = calls
    names = {"what": plain + suffix}
    yield faster(spent, plain, theirs, goal, **names)
    yield faster(spent, plain, hf, **names)
    yield faster(spent, undropped, theirs, what=undropped + suffix)
    yield faster(spent, mel, plain, "student step mel", what=mel + suffix)


def _fraction_of_peak(b: dict[str, torch.Tensor]) -> Row:
    from torch.utils.flop_counter import FlopCounterMode

    step = training(ours(), b)
    for _ in range(5):
        step()
    with FlopCounterMode(display=False) as counter:
        step()
    cost = min((device_cost(step) for _ in range(20)), key=lambda c: c.cpu_s)
    name = torch.cuda.get_device_name()
    peak = next((v for k, v in PEAK_BF16.items() if k in name), float("nan"))
    figure = counter.get_total_flops() / cost.cpu_s / peak
    return Row("student step, bf16", f"peak of {name}", "of its FLOP/s", fixed(figure), None, cost)
