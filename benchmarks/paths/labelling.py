"""The labelling pass: speech in, labels out, beside the forward alone and dump → argmin.

Bound by operations: the teacher's forward up to its layer (HuBERT-base, layer 9, random weights,
which cost the same); the labels add 2·768·500 operations a frame, 0.2 % of it. Dump → argmin is
what public recipes do: Hugging Face's forward of one utterance, all layers, the layer's features
to disk in float32; then read, and MiniBatchKMeans.predict.

A teacher in lower precision: torch's int8 for its linear layers (dynamic quantisation); the stem
stays, and its share bounds what is to be gained.
"""

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import RATE, Row, alternate, faster, fixed, median, ratio
from benchmarks.paths.mixture import DIM, K

LAYER, SECONDS = 9, 5.0
INT8, STEM = "the forward, linear layers in int8", "the stem alone"


def rows(options: Any) -> Iterator[Row]:
    """Throughput of both ways."""
    import torch
    from sklearn.cluster import MiniBatchKMeans
    from transformers import HubertConfig, HubertModel

    from espnet_dice.hubert.frozen import FrozenSSLModel, LayerFeatures
    from espnet_dice.hubert.models import students
    from espnet_dice.labels import codec, store
    from espnet_dice.labels.codebook import Codebook
    from espnet_dice.labels.label_shards import label

    torch.set_num_threads(1)
    torch.manual_seed(0)
    source = LayerFeatures(
        FrozenSSLModel(students.build("hubert", {"size": "base"}), "-", "-"), LAYER
    )
    public = HubertModel(HubertConfig()).eval()
    lower = copy.deepcopy(source.teacher)
    lower.model = torch.ao.quantization.quantize_dynamic(lower.model, {torch.nn.Linear})
    quantised = LayerFeatures(lower, LAYER)
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(int(SECONDS * RATE)).astype("f4") for _ in range(3)]
    some = torch.cat([source.features(w) for w in waves]).numpy()
    centroids = some[rng.choice(len(some), K, replace=False)]
    argmin = MiniBatchKMeans(K, max_iter=1, n_init=1, init=centroids).fit(some[:K])
    books = {
        "hard and soft labels": codec.fit(centroids, rng.permutation(some)),
        "hard labels": Codebook.hard(centroids),
    }
    turn = iter(range(10**6))

    with tempfile.TemporaryDirectory() as tmp:
        features, shard = Path(tmp) / "x.npy", Path(tmp) / "x.bin"

        def dump() -> None:
            with torch.inference_mode():
                wave = torch.from_numpy(waves[next(turn) % len(waves)])[None]
                hidden = public(wave, output_hidden_states=True).hidden_states[LAYER]
            np.save(features, hidden[0].numpy())
            argmin.predict(np.load(features))

        def stem(wave: np.ndarray) -> None:
            with torch.inference_mode():
                source.teacher.model.stem(torch.from_numpy(wave)[None])

        def ours(book: Codebook) -> None:
            records = label(source, book, {"u": waves[next(turn) % len(waves)]})
            store.write_shard(shard, records.items())

        spent = alternate(
            {
                "the teacher's forward alone": lambda: source.features(
                    waves[next(turn) % len(waves)]
                ),
                "dump → argmin": dump,
                INT8: lambda: quantised.features(waves[next(turn) % len(waves)]),
                STEM: lambda: stem(waves[next(turn) % len(waves)]),
                **{name: lambda book=book: ours(book) for name, book in books.items()},
            },
            options.turns,
        )
    alone = "the teacher's forward alone"
    for name in books:
        goal = "labelling" if name == "hard labels" else None
        yield faster(spent, name, "dump → argmin", goal)
        figure = ratio(spent[alone], spent[name])
        costs = median(spent[name]), median(spent[alone])
        yield Row(name, alone, "of its throughput", figure, "labelling forward", *costs)
    yield faster(spent, INT8, alone, "precision")
    same = [
        (_nearest(quantised, w, centroids) == _nearest(source, w, centroids)).mean() for w in waves
    ]
    yield Row("its labels", alone, "the same", fixed(float(np.mean(same))), "precision same")
    share = ratio(spent[STEM], spent[alone])
    yield Row(STEM, alone, "of its time", share, None, median(spent[STEM]), median(spent[alone]))
    beside = f"dump: {4 * DIM} bytes a frame"
    yield Row("features on disk", beside, "bytes", fixed(0.0), "labelling features")


def _nearest(source: Any, wave: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    found = source.features(wave).double().numpy()
    return np.square(found[:, None] - centroids[None]).sum(2).argmin(1)
