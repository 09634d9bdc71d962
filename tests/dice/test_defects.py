"""The defects of ESPnet's SSL code: each is shown there, and absent here.

Defects of the label pipeline (dumped features, stale labels …) have their tests beside the stages.
"""

import argparse
import copy

import numpy as np
import pytest
import torch

from espnet_dice.dice import crop, losses
from espnet_dice.dice.collate import DiceCollate
from espnet_dice.hubert.models import mask
from espnet_dice.hubert.models.frames import n_frames
from tests.hubert import tiny


def numbered(samples):
    """An utterance whose sample n is n, and whose label of frame t is t."""
    return np.arange(samples, dtype=np.float32), np.arange(n_frames(samples))


def frames_early(first_sample, first_label):
    """By how many frames a crop's labels precede its audio."""
    return first_sample / 320 - first_label


def test_crops_pair_audio_with_its_labels():
    """ESPnet floors the label's offset: 0.75 frame early on average, a frame or more in 25 %."""
    from espnet2.train.collate_fn import _crop_audio_label

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    theirs, ours = [], []
    for _ in range(2000):
        samples = int(rng.integers(20000, 40000))
        speech, labels = numbered(samples)
        s, z, _ = _crop_audio_label(speech, labels, samples, 16000, True, 25.0, 20.0, 16.0)
        theirs.append(frames_early(s[0], z[0]))
        s, z = crop.cut(speech, labels, crop.crop_start(n_frames(samples), 49, rng), 49)
        ours.append(frames_early(s[0], z[0]))
    assert np.mean(theirs) == pytest.approx(0.75, abs=0.03)
    assert np.mean(np.array(theirs) >= 1) == pytest.approx(0.25, abs=0.03)
    assert np.abs(ours).max() == 0


def test_one_short_utterance_leaves_the_masks_of_the_others():
    """ESPnet cuts all rows to the least masked one: 3.8 % in place of 56 %."""
    from espnet2.ssl.utils.mask import _compute_mask_indices

    torch.manual_seed(0)
    lengths = [700, 700, 700, 25]
    padding = torch.arange(700)[None] >= torch.tensor(lengths)[:, None]
    theirs = [
        _compute_mask_indices((4, 700), padding, "cpu", 0.8, 10, min_masks=2)[:3].float().mean()
        for _ in range(20)
    ]
    assert np.mean(theirs) < 0.05
    rows = [
        mask.span_mask(n, mask.utterance_rng(seed, str(i)))
        for seed in range(20)
        for i, n in enumerate(lengths)
    ]
    long = [row.mean() for row in rows if len(row) == 700]
    assert np.mean(long) == pytest.approx(0.56, abs=0.02)
    assert all(row.any() and not row.all() for row in rows)


def test_what_is_masked_is_not_overwritten():
    """ESPnet writes the mask embedding into the features that it also hands to the losses."""
    from espnet2.ssl.utils.mask import Masking

    x = torch.randn(1, 100, 8)
    before = x.clone()
    Masking(8)(x, None)
    assert not torch.equal(x, before)

    model = tiny.model()
    batch = tiny.batch({"a": 9000, "b": 16000})
    before = copy.deepcopy(batch)
    seen = []
    model.student.feature_projection.register_forward_hook(
        lambda module, args, out: seen.append((out, out.detach().clone()))
    )
    model(**batch)
    assert all(torch.equal(*pair) for pair in seen) and len(seen) == 1
    assert all(torch.equal(batch[k], before[k]) for k in batch if k != "utt_id")


def test_mask_prob_0_masks_nothing():
    from espnet2.ssl.utils.mask import Masking

    with pytest.raises(TypeError):
        Masking(8, mask_prob=0.0)(torch.randn(1, 100, 8), None)
    model = tiny.model(mask_prob=0.0, unmasked_weight=1.0)
    _, stats, _ = model(**tiny.batch({"a": 9000}))
    assert stats["masked"] == 0


def test_accuracies_are_of_their_own_frames_and_never_of_padding():
    """ESPnet's hubert_acc_u is the masked accuracy once more, and its u frames count padding."""
    from espnet2.ssl.loss.hubert import HuBERTLoss

    from espnet_dice.dice.ssl_losses import Hard

    torch.manual_seed(0)
    lengths = torch.tensor([50, 20])
    x = torch.randn(2, 50, 8)
    masked = torch.zeros(2, 50, dtype=torch.bool)
    masked[0, :25] = masked[1, :10] = True
    valid = torch.arange(50) < lengths[:, None]

    def labels(predict):
        """Right where masked, wrong where not, -1 where there is nothing."""
        right = predict(x).argmax(-1)
        return torch.where(masked, right, (right + 1) % 5).masked_fill(~valid, -1)

    info = {"mask_m": masked, "mask_u": ~masked}
    theirs = HuBERTLoss(8, num_classes=5, final_dim=4)
    decoder = theirs.decoder
    text = labels(lambda x: decoder.label_embeddings(decoder.final_proj(x)))
    _, stats = theirs([x], lengths, text, lengths, info)
    assert stats["hubert_acc_m_0"] == 1 and stats["hubert_acc_u_0"] == 1  # it is 0

    ours = Hard(8, num_classes=5, final_dim=4)
    _, stats = ours([x], lengths, labels(ours.head), lengths, info)
    assert stats["acc_m"] == 1 and stats["acc_u"] == 0 and stats["sample_size"] == 35
    logits, ids = ours.head(x), labels(ours.head)
    assert losses.accuracy(logits, ids, ~masked & valid) == 0


@pytest.fixture(scope="module")
def parser():
    from espnet_dice.dice.task import DiceHubertTask

    return DiceHubertTask.get_parser()


def test_building_a_model_leaves_the_callers_config_alone(parser):
    """ESPnet writes encoder_embed_dim into the caller's util conf."""
    from espnet_dice.dice.task import DiceHubertTask

    args = parser.parse_args(["--output_dir", "x", "--num_classes", "12"])
    args.student_conf = copy.deepcopy(tiny.STUDENT)
    args.loss = [{"name": "dice_hard", "conf": {}}]
    given = {k: getattr(args, k) for k in ("student_conf", "loss", "model_conf")}
    before = copy.deepcopy(given)
    DiceHubertTask.build_model(args)
    assert given == before


def test_the_order_of_parameters_is_that_of_the_config():
    """ESPnet builds modules from a set: their order differs between ranks with the hash seed."""
    soft_first = [{"name": "dice_soft"}, {"name": "dice_hard"}]
    for loss in (soft_first, soft_first[::-1]):
        model = tiny.model(loss=loss)
        assert list(model.terms) == [entry["name"] for entry in loss]
    one, two = (list(dict(tiny.model().named_parameters())) for _ in range(2))
    assert one == two


def test_frames_come_from_the_stem_and_not_from_a_config_key(parser):
    """ESPnet reads the window from encoder_conf, where the stem is not; here it is fixed."""
    from espnet2.tasks.ssl import SSLTask

    from espnet_dice.hubert.models import students
    from espnet_dice.io.errors import ConfigError

    layers = [[64, 10, 5], [64, 3, 2], [64, 3, 2], [64, 3, 2]]  # stride 40
    theirs = argparse.Namespace(
        frontend_conf={"shapes": layers}, encoder_conf={}, collate_fn_conf={}, collect_stats=False
    )
    assert SSLTask.build_collate_fn(theirs, True).window_shift == 20  # 2.5 ms it should be
    with pytest.raises(ConfigError, match="stride of 40"):
        stem = {"conv_dim": [8] * 4, "conv_kernel": [10, 3, 3, 3], "conv_stride": [5, 2, 2, 2]}
        students.build("hubert", {**tiny.STUDENT, **stem})


def test_volume_normalisation_is_what_it_says(parser):
    """ESPnet's speech_volume_normalize is given the value of rir_scp."""
    from espnet_dice.dice.task import DiceHubertTask

    args = parser.parse_args(["--output_dir", "x", "--collate_fn_conf", "normalize=true"])
    collate = DiceHubertTask.build_collate_fn(args, train=True)
    _, batch = collate([("a", {"speech": 7 + 3 * tiny.speech(16000)})])
    assert abs(batch["speech"].mean()) < 0.05 and abs(batch["speech"].std() - 1) < 0.05


def test_normalisation_does_not_depend_on_the_neighbours():
    """ESPnet's frontend normalises a batch as a whole."""
    from espnet2.asr.frontend.cnn import CNNFrontend

    quiet, loud = tiny.speech(4000), 100 * tiny.speech(4000, seed=1)
    theirs = CNNFrontend("group_norm", "standard", True, shapes=[[4, 10, 5]], normalize_audio=True)
    both = torch.from_numpy(np.stack([quiet, loud]))
    alone, _ = theirs(both[:1], None)
    beside, _ = theirs(both, None)
    assert (alone[0] - beside[0]).abs().max() > 0.01  # a group norm hides most of it

    ours = DiceCollate(train=False, normalize=True)
    _, alone = ours([("a", {"speech": quiet})])
    _, beside = ours([("a", {"speech": quiet}), ("b", {"speech": loud})])
    assert torch.equal(alone["speech"][0], beside["speech"][0])


def test_the_loss_is_a_mean_and_survives_a_single_frame():
    """The hubert task sums over frames, so that grad_clip 5 clips every step, and divides by 0."""
    from espnet2.hubert.espnet_model import TorchAudioHubertPretrainModel as Theirs

    logits = torch.randn(10, 5)
    sums = [
        Theirs._calc_hubert_loss(None, x, None, torch.zeros(()))
        for x in (logits, logits.repeat(3, 1))
    ]
    assert sums[1].item() == pytest.approx(3 * sums[0].item(), rel=1e-5)
    correct, count = Theirs._compute_correct(None, torch.zeros(0, 5))
    with pytest.raises(ZeroDivisionError):
        correct / count  # as in its forward, where no frame is masked

    model = tiny.model()
    one = tiny.batch({"a": 16000})
    loss, _, weight = model(**one)
    three = {k: torch.cat([v] * 3) for k, v in one.items() if k != "utt_id"}
    again, _, more = model(**three, utt_id=["a"] * 3)
    assert again.item() == pytest.approx(loss.item(), rel=1e-5) and more == 3 * weight
    loss, stats, _ = model(**tiny.batch({"a": 400}))
    assert loss == 0 and stats["acc_m"].isnan()
