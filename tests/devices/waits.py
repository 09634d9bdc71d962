"""Where a step of training waits for a GPU, and why it is left so.

A wait at the beginning of a step costs nothing: ESPnet's reporter reads the statistics of the step
before, and so has waited for all of it.
"""

from collections.abc import Iterable

HERE = "espnet_dice."
OTHERS = ("espnet.", "espnet2.", "transformers.")
"""ESPnet's own waits are those of its own models, some thirty a step."""

DICE = {
    "dice.model.DiceHubertModel.forward: tolist": "lengths of a batch, at the beginning",
    "dice.model.DiceHubertModel.forward: upload": "masks and ends of utterances, at the beginning",
    "dice.model.DiceHubertModel._loss: item": "a loss that is not finite stops the training; "
    "ESPnet's reporter reads the loss next",
}
LABELS = {"dice.faults.check_labels: tolist": "numbers of labels, at the beginning"}
SCHEDULE = {"hubert.models.schedule.now: item": "the update's number, at the beginning"}
PADDED = {
    "hubert.models.stem.trimmed: item": "an utterance without a frame is refused, and equal "
    "lengths take the fast attention; batches of training are cut, not padded, but with pad: true",
}
GROUP_NORM = {
    "hubert.models.stem.Stem._group_norm: tolist": "a norm over each utterance alone; as above",
}
SSL_LOSS = {
    "dice.ssl_losses.Hard.forward: item": "sample_size is a number in ESPnet's SSL task",
}
KD = {
    "kd.model.UncertaintyKDModel.forward: item": "the longest text, at the beginning, as ESPnet",
}
CACHED = {
    "kd.cache.unpack: item": "outputs made for another transcript are refused, before the encoder",
}
CTC = {
    "kd.teachers.ctc_pair: item": "teachers of another frame rate are refused; ESPnet's CTC loss "
    "has waited for as much",
}
ONLINE = {
    "kd.alone.encode: tolist": "teachers hear utterances one by one, whatever their neighbours",
    "kd.alone.encode: upload": "as above",
    "kd.alone._encode: item": "as above",
    "kd.alone._encode: upload": "as above",
    "kd.alone.seeds: cpu": "a seed for the noise of each utterance is made of its text",
    "kd.alone.seeds: tolist": "as above",
}
NOISE = {"kd.alone.log_mean_probs: tolist": "noise of each utterance by its own seed"}
SSL_ENCODER = {
    "hubert.ssl._check_lengths: item": "an utterance without a frame is refused",
}
MASKS = {
    "hubert.ssl.SSLEncoder._draw_mask: tolist": "masks are drawn on the CPU",
    "hubert.ssl.SSLEncoder._draw_mask: item": "as above",
    "hubert.ssl.SSLEncoder._draw_mask: upload": "as above",
}
STEPS = {"hubert.ssl.SSLEncoder._hidden: item": "the update's number: whether it is still frozen"}


def check(found: Iterable[str], *expected: dict[str, str]) -> None:
    """Each wait of this package is in a list, and each of the list is met."""
    strange = [w for w in found if not w.startswith((HERE, *OTHERS))]
    assert not strange, strange
    own = {w.removeprefix(HERE) for w in found if w.startswith(HERE)}
    listed = set().union(*expected)
    assert own == listed, f"not in the list: {own - listed}; not met: {listed - own}"
