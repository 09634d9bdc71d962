"""What is said of an utterance in a batch, beside the same one alone, and beside plain ESPnet."""

import numpy as np
import pytest
import torch

from espnet_dice import compat
from espnet_dice.kd import teachers
from espnet_dice.kd.teacher_shards import TeacherForcing, teacher_forced
from espnet_dice.results import token_uncertainty
from tests.kd.test_model import TOKENS, V, build, task

__all__ = ["task"]
FRAMES, LENGTHS = [59, 43, 51, 58], [4, 2, 3, 4]


@pytest.fixture(scope="module")
def utterances():
    generator = torch.Generator().manual_seed(7)
    speech = [torch.randn(n, 20, generator=generator) for n in FRAMES]
    return speech, [torch.randint(2, V - 1, (n,), generator=generator) for n in LENGTHS]


def batch(speech, text, rows=range(4)):
    pad = torch.nn.utils.rnn.pad_sequence
    x, y = [speech[i] for i in rows], [text[i] for i in rows]
    return {
        "speech": pad(x, batch_first=True),
        "speech_lengths": torch.tensor([len(r) for r in x]),
        "text": pad(y, batch_first=True, padding_value=-1),
        "text_lengths": torch.tensor([len(r) for r in y]),
    }


def sharp(model):
    """Random, but sure of itself."""
    model.decoder.output_layer.weight.data *= 4
    if getattr(model.decoder, "variance", None) is not None:
        model.decoder.variance.linear.weight.data *= 4
    return model


def apart(said, utterances):
    """How far an utterance in a batch is from itself alone, at most.

    Args:
        said: batch → matrices (B, L + 1, V) or more rows.
    """
    together = said(batch(*utterances))
    away = []
    for i, n in enumerate(LENGTHS):
        alone = said(batch(*utterances, [i]))
        pairs = zip(together, alone, strict=True)
        away.append([float((a[i, : n + 1] - b[0, : n + 1]).abs().max()) for a, b in pairs])
    return np.max(away, axis=0)


def test_a_teachers_targets_do_not_depend_on_the_batch(task, utterances):
    model = sharp(build(task))

    def espnets(b):
        memory, frames = model.encode(b["speech"], b["speech_lengths"])
        f, v = teachers.forced(model, memory, frames, b["text"], b["text_lengths"])
        return f.log_softmax(-1), v.log(), model.ctc.log_softmax(memory)

    def ours(b):
        found = teachers.targets(model, *b.values(), n_samples=20, with_ctc=True)
        return found.log_probs, found.variances.log(), found.ctc_log_probs

    with torch.no_grad():
        away = apart(espnets, utterances)
        if compat.espnet_version() < 202611:  # its subsampling hears the padding
            assert min(away) > 1e-2
        else:
            assert max(away) < 1e-5
        assert max(apart(ours, utterances)) < 1e-5


def test_a_cache_does_not_depend_on_its_batches(task, utterances):
    model, how = sharp(build(task)), TeacherForcing("t", "m", "tokens", 20, True, 3)
    names = tuple("abcd")
    together = dict(teacher_forced(model, how, names, *batch(*utterances).values()))
    for i, name in enumerate(names):
        ((_, alone),) = teacher_forced(model, how, (name,), *batch(*utterances, [i]).values())
        for stem, matrix in alone.items():
            np.testing.assert_allclose(together[name][stem], matrix, atol=1e-5)
    # noise is an utterance's own, and another with another seed
    same = batch([utterances[0][0]] * 2, [utterances[1][0]] * 2, range(2)).values()
    a, b = dict(teacher_forced(model, how, ("a", "b"), *same)).values()
    assert np.abs(a["teacher"][:, :V] - b["teacher"][:, :V]).max() > 1e-3


def test_few_frames_are_said_the_same_of_too(task, utterances):
    """Fewer than the convolution takes alone, among longer ones and alone."""
    speech, text = list(utterances[0]), utterances[1]
    speech[1] = speech[1][:5]
    model = sharp(build(task))
    both, one = (
        teachers.targets(model, *batch(speech, text, rows).values()) for rows in ([0, 1], [1])
    )
    torch.testing.assert_close(both.variances[1, :3], one.variances[0, :3], rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [0, 10])
def test_a_validation_loss_of_a_batch_is_that_of_its_utterances(task, utterances, samples):
    plain = sharp(build(task, model="espnet"))
    ours = build(task, decoder={"train_samples": samples})
    ours.load_state_dict(plain.state_dict(), strict=False)

    def away(model):
        def losses(rows):
            stats = model(**batch(*utterances, rows))[1]
            return np.array([float(stats[k]) for k in ("loss_att", "loss_ctc")])

        together = losses(range(4))
        np.testing.assert_array_equal(losses(range(4)), together)
        return np.abs(together - np.mean([losses([i]) for i in range(4)], axis=0))

    with torch.no_grad():
        # the student hears padding as ESPnet's does; noise adds nothing to that
        assert (away(ours) <= 1.1 * away(plain) + 1e-5).all()


def test_token_measures_do_not_depend_on_the_batch(task, utterances, monkeypatch):
    model = sharp(build(task))
    names = dict(zip("abcd", zip(*utterances, strict=True), strict=True))
    args = (
        model,
        TOKENS,
        lambda utt: names[utt][0].numpy(),
        {utt: len(x) for utt, (x, _) in names.items()},
        {"ref": {utt: [TOKENS[t] for t in y] for utt, (_, y) in names.items()}},
        20,
    )
    together = token_uncertainty.ask(*args)
    monkeypatch.setattr(token_uncertainty, "BATCH", 1)
    for key, alone in token_uncertainty.ask(*args).items():
        if alone.dtype == np.float32:
            np.testing.assert_allclose(together[key], alone, atol=1e-5)
