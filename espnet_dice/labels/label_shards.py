"""Shards of a label store."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.hubert import upstreams
from espnet_dice.hubert.models.frames import STRIDE, n_frames
from espnet_dice.io.errors import DataError, DiceError
from espnet_dice.io.fingerprint import digest
from espnet_dice.labels import codebooks, store, targets
from espnet_dice.labels.codebook import Codebook
from espnet_dice.labels.codebooks import Codebooks
from espnet_dice.records import feature_dir
from espnet_dice.work import shards
from espnet_dice.work.shards import Shard, Unusable

ALGORITHM = 1
"""Raise it when the labels of the same speech change, so that old ones are made again."""
WINDOW = 256
"""Utterances among which batches are formed: of like length, but not held for long."""
FLOAT_ERROR = 5e-6
"""What a batch may change in a feature, relative to its length (6e-7 is the most that padding
changed in HuBERT-base); a label whose margin is below twice that is taken from a forward pass of
the utterance alone."""


@dataclass(frozen=True)
class Labelling:
    """How labels are made; small, because every process gets it.

    Attributes:
        source, layer, trust_pickle, device: see :func:`upstreams.load_layer`.
        source_key: see :func:`upstreams.layer_key_of`.
        codebook: its file.
        batch_frames: frames of a forward pass, padding included; 0: one utterance each.
    """

    source: str
    layer: int | tuple[int, ...]
    source_key: str
    codebook: Path
    device: str = "cpu"
    trust_pickle: bool = False
    batch_frames: int = 0


@dataclass(frozen=True)
class LabelShard(Shard):
    """Labels of some utterances.

    Attributes:
        utterances: (id, samples), in order of their ids.
        dump: path of the speech.
        labelling: how.
        made_from: fingerprint of the store.
    """

    utterances: tuple[tuple[str, int], ...]
    dump: Path
    labelling: Labelling
    made_from: str

    @property
    def target(self) -> Path:
        """The file of this shard."""
        return self.out_dir / store.shard_name(self.number)

    @property
    def targets(self) -> tuple[Path, ...]:
        """The file of this shard."""
        return (self.target,)

    def key(self) -> str:
        """Everything that the shard's content depends on."""
        batch = [self.labelling.device.split(":")[0], self.labelling.batch_frames]
        return digest([ALGORITHM, self.made_from, batch, self.utterances])

    def write(self, problems: list[str], count: Callable[[int], None]) -> dict[str, Any]:
        """Label the shard's utterances."""
        import torch

        how = self.labelling
        source = _source(how.source, how.layer, how.trust_pickle, how.device, how.source_key)
        codebook = codebooks.load(how.codebook)
        uses = [np.zeros(book.clusters, np.int64) for book in codebook.books]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            # TF32 has three digits; what is left of them depends on the batch's shape
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                labelled = self._labelled(source, codebook, problems, count)
                index = store.write_shard(self.target, _counted(labelled, uses), len(uses))
        finally:
            torch.set_num_threads(threads)
        return {
            "bytes": self.target.stat().st_size,
            "index": index,
            "uses": np.concatenate(uses).tolist(),
            "heights": list(source.heights),
        }

    def _labelled(
        self,
        source: upstreams.Features,
        codebook: Codebook | Codebooks,
        problems: list[str],
        count: Callable[[int], None],
    ) -> Iterator[tuple[str, np.ndarray]]:
        """After a problem the speech is only read on, so that all problems are reported."""
        waves = feature_dir.Waves(feature_dir.load(self.dump))
        done = 0
        for start in range(0, len(self.utterances), WINDOW):
            window = self.utterances[start : start + WINDOW]
            found: dict[str, np.ndarray] = {}
            for batch in batches(window, self.labelling.batch_frames):
                speech = _read(waves, batch, problems)
                if not problems:
                    try:
                        found |= label(source, codebook, speech)
                    except (DiceError, ValueError) as err:
                        problems += self._to_blame(source, codebook, speech) or [str(err)]
                done += len(batch)
                count(done)
            if not problems:
                yield from ((utt, found[utt]) for utt, _ in window)
        if problems:
            raise Unusable

    def _to_blame(
        self,
        source: upstreams.Features,
        codebook: Codebook | Codebooks,
        speech: dict[str, np.ndarray],
    ) -> list[str]:
        """What is wrong with each utterance of a batch."""
        problems = []
        for utt, wave in speech.items():
            try:
                label(source, codebook, {utt: wave})
            except (DiceError, ValueError) as err:
                problems.append(f"{self.dump}: {utt}: {err}")
        return problems


def cut(
    out_dir: Path, dump: feature_dir.FeatureDir, labelling: Labelling, made_from: str
) -> list[LabelShard]:
    """Cut a set into shards of equal numbers of utterances."""
    parts = shards.cut(sorted(dump.lengths.items()), shards.number_of(len(dump.lengths)))
    return [
        LabelShard(out_dir, n, part, dump.path, labelling, made_from)
        for n, part in enumerate(parts, 1)
    ]


def batches(
    utterances: tuple[tuple[str, int], ...], batch_frames: int
) -> list[list[tuple[str, int]]]:
    """Utterances of like length together, as many as ``batch_frames`` hold; 0: each alone."""
    if not batch_frames:
        return [[entry] for entry in utterances]
    made: list[list[tuple[str, int]]] = []
    for entry in sorted(utterances, key=lambda entry: (-entry[1], entry[0])):
        if made and (len(made[-1]) + 1) * n_frames(made[-1][0][1]) <= batch_frames:
            made[-1].append(entry)
        else:
            made.append([entry])
    return made


def label(
    source: upstreams.Features,
    codebook: Codebook | Codebooks,
    speech: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Records of the utterances of one batch, with the hard labels that each has alone.

    Args:
        source: of the features.
        codebook: to code them with; or several.
        speech: utterance → samples.

    Raises:
        DataError: an utterance is shorter than a frame.
        ValueError: features are NaN or infinite, or not as many as there must be.
    """
    if len(speech) == 1:
        features = [source.features(wave) for wave in speech.values()]
    else:
        features = [
            source.features(wave) if _unsafe(x, codebook) else x
            for wave, x in zip(speech.values(), source.batch(list(speech.values())), strict=True)
        ]
    found = {}
    for (utt, wave), x in zip(speech.items(), features, strict=True):
        if len(x) != n_frames(len(wave)):
            raise ValueError(
                f"{len(x)} frames where {n_frames(len(wave))} are expected: the teacher's stride "
                f"is not {STRIDE} samples"
            )
        found[utt] = codebook.encode(x)
    return found


def _unsafe(features: Any, codebook: Codebook | Codebooks) -> bool:
    for book, part in codebook.parts(features):
        length = part.double().square().sum(1).sqrt()
        margins = targets.margins(part, book.centroids)
        if bool((margins <= 2 * FLOAT_ERROR * length).any()):
            return True
    return False


def _read(
    waves: Mapping[str, np.ndarray], batch: list[tuple[str, int]], problems: list[str]
) -> dict[str, np.ndarray]:
    speech = {}
    for utt, _ in batch:
        try:
            speech[utt] = waves[utt]
        except DataError as err:
            problems.append(str(err))
    return speech


def _counted(
    labelled: Iterator[tuple[str, np.ndarray]], uses: Sequence[np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    for utt, records in labelled:
        for n, counts in enumerate(uses):
            counts += np.bincount(records[:, n], minlength=len(counts))
        yield utt, records


@lru_cache(maxsize=1)
def _source(
    source: str, layer: int | tuple[int, ...], trust_pickle: bool, device: str, key: str
) -> upstreams.Features:
    """The features, loaded once a process: a teacher costs seconds."""
    return upstreams.load_layer(source, layer, device, trust_pickle)
