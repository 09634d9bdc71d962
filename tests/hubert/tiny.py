"""Students, labels and speech small enough for seconds."""

import numpy as np
import torch

from espnet_dice.dice.model import DiceHubertModel
from espnet_dice.hubert.models import students
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.labels import codec

K, DIM = 12, 6
STUDENT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "layerdrop": 0.0,
}


def codebook(seed: int = 0) -> codec.Codebook:
    """A codebook of K clusters of DIM-dimensional features."""
    rng = np.random.default_rng(seed)
    centroids = rng.normal(size=(K, DIM)).astype(np.float32)
    return codec.fit(centroids, rng.normal(size=(400, DIM)))


def model(seed: int = 0, loss: str | list = "dice_hard", student=None, **conf) -> DiceHubertModel:
    """A model with random parameters, in eval mode."""
    torch.manual_seed(seed)
    loss = [{"name": loss}] if isinstance(loss, str) else loss
    built = students.build("hubert", {**STUDENT, **(student or {})})
    return DiceHubertModel(built, loss, n_clusters=K, final_dim=8, **conf).eval()


def speech(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, samples]).normal(size=samples).astype(np.float32)


def batch(lengths: dict[str, int], records: codec.Codebook | None = None) -> dict:
    """A padded batch; the features behind the labels of an utterance depend on its id alone."""
    waves = [torch.from_numpy(speech(n)) for n in lengths.values()]
    features = {u: feature(u, n_frames(n)) for u, n in lengths.items()}
    ids = [np.abs(f[:, 0] * 1000).astype(int) % K for f in features.values()]
    if records is not None:
        ids = [records.encode(f).astype(np.int32) for f in features.values()]
    labels = [torch.from_numpy(x) for x in ids]
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "speech": pad(waves, batch_first=True),
        "speech_lengths": torch.tensor(list(lengths.values())),
        "labels": pad(labels, batch_first=True),
        "labels_lengths": torch.tensor([len(x) for x in labels]),
        "utt_id": list(lengths),
    }


def feature(utt: str, frames: int) -> np.ndarray:
    return np.random.default_rng(list(utt.encode())).normal(size=(frames, DIM))


def write_store(directory, codebook, features, **inputs: str) -> None:
    """A label store of some features, utterance → (T, DIM), made from ``inputs``."""
    from espnet_dice.io.fingerprint import Fingerprint
    from espnet_dice.labels import store

    store.write(directory, codebook, {u: codebook.encode(f) for u, f in features.items()})
    Fingerprint("labels", {"n": len(features)}, inputs).finish(directory)
