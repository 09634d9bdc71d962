"""``init: pca``: a narrow student that is cut from its wider teacher. Ours, not the paper's.

The student's states are to be the teacher's, projected on the d directions in which the states of
all its blocks have the most energy on some speech: h P with P (D, d), a principal component
analysis about 0. Linear maps are fitted by ridge regression, one after the other, from what the
student says so far to what the teacher says projected: errors of one map are the next one's to
mend. Behind a nonlinearity the teacher's units are chosen that say most, their energy times that of
the weights behind them. Of an attention head the products of queries and keys, and of values and
output, are kept up to the student's rank (singular values, on the speech's own states). A norm has
its gain and offset a value fitted. The convolution of the positions is fitted, too, and shifted to
where its nonlinearity is nearly a straight line: the teacher's says nothing negative, projected it
does. Heads of labels stay fresh.

One direction is lost: a norm takes the mean over a frame's values out, so P's basis is turned until
that mean is the weakest of the d directions.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.nn import functional

from espnet_dice.hubert.models.backbone import Backbone
from espnet_dice.hubert.models.mel import MelStem
from espnet_dice.io.errors import ConfigError

FRAMES, FRAMES_A_UNIT = 15000, 20
"""Frames of speech that are enough: five minutes, or so many for each of a block's inner units."""
RIDGE = 1e-3
"""Of a regression: the mean of its inputs' variances times this is added to each."""

States = list[torch.Tensor]
"""(frames, values) of each utterance."""


class Heard(NamedTuple):
    """What a block of the teacher says.

    Attributes:
        attended: before the norm behind attention.
        inner: the inner units before their nonlinearity.
        added: before the last norm.
        out: the block's output.
    """

    attended: torch.Tensor
    inner: torch.Tensor
    added: torch.Tensor
    out: torch.Tensor


def frames_for(student: torch.nn.Module) -> int:
    """Frames of speech that :func:`from_teacher` should hear."""
    return max(FRAMES, FRAMES_A_UNIT * int(getattr(student.config, "intermediate_size", 0)))


def check(student: torch.nn.Module, teacher: torch.nn.Module, source: str) -> None:
    """Refuse what cannot be cut.

    Raises:
        ConfigError: naming what does not go together.
    """
    for who, model in (("the student", student), (source, teacher)):
        if type(model) is not Backbone or model.config.do_stable_layer_norm:
            raise ConfigError(
                f"model_conf: init: pca: {who} is no HuBERT with norms behind its blocks: use "
                "student: hubert and such a teacher, or leave init out"
            )
    ours, theirs = student.config, teacher.config
    if getattr(ours, "conv_pos_batch_norm", False):
        raise ConfigError(
            "model_conf: init: pca: the student's positions have a batch norm: leave "
            "conv_pos_batch_norm out"
        )
    if ours.hidden_size >= theirs.hidden_size:
        raise ConfigError(
            f"model_conf: init: pca: the student is {ours.hidden_size} wide, {source} "
            f"{theirs.hidden_size}: it cuts narrower students; init: teacher copies what fits"
        )
    if ours.num_attention_heads != theirs.num_attention_heads:
        raise ConfigError(
            f"model_conf: init: pca: the student has {ours.num_attention_heads} attention heads, "
            f"{source} {theirs.num_attention_heads}: give it as many (num_attention_heads)"
        )
    if _same_stem(student, teacher):
        return
    both = [model.feature_extractor for model in (student, teacher)]
    if not all(isinstance(stem, MelStem) for stem in both) or both[0].norm != both[1].norm:
        raise ConfigError(
            f"model_conf: init: pca: the student's stem must have {source}'s channels "
            "(conv_dim), or both have stem: mel and the same mel_norm"
        )
    for n, (own, wanted) in enumerate(zip(*(stem.conv_layers for stem in both), strict=True)):
        if own.out_channels > wanted.out_channels:
            raise ConfigError(
                f"model_conf: init: pca: conv_dim: {own.out_channels} channels in convolution "
                f"{n + 1}, {source} has {wanted.out_channels}: it cuts narrower stems"
            )


@torch.no_grad()
def from_teacher(
    student: Backbone,
    teacher: Backbone,
    blocks: Sequence[tuple[int, int]],
    waves: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> list[float]:
    """Give a student the parameters that make it follow its teacher.

    Args:
        student: to be changed.
        teacher: :attr:`FrozenSSLModel.model`.
        blocks: pairs of a student's block and the teacher's whose output it is to have, from 1,
            both growing.
        waves: (samples,) of each utterance, as the student and as the teacher hear it.

    Returns:
        Of each hidden state the share of the variance of the teacher's, projected, that the
        student's has, from the input of block 1 on, on this speech.
    """
    training, _ = student.training, student.eval()
    mine = [own[None] for own, _ in waves]
    theirs = [wanted[None] for _, wanted in waves]
    p, energy = directions((teacher(wave) for wave in theirs), student.config.hidden_size)
    stem = _stem(student, teacher, mine, theirs)
    # the teacher's frames, with their positions, and what its first norm makes of them
    frames = [teacher.stem(wave)[0] for wave in theirs]
    placed = [x + teacher._positions(x, None) for x in frames]
    wanted = [teacher.encoder.layer_norm(x) for x in placed]
    projection = _fitted(student.feature_projection.projection, torch.cat(stem), _rows(frames) @ p)
    own = [projection(x)[None] for x in stem]
    shift = _positions(student.encoder.pos_conv_embed, own, [x @ p for x in placed])
    projection.bias.sub_(shift)
    if hasattr(student, "masked_spec_embed"):  # a teacher that was never masked has none
        if hasattr(teacher, "masked_spec_embed"):
            student.masked_spec_embed.copy_(teacher.masked_spec_embed @ p)
        student.masked_spec_embed.sub_(shift)
    own = [x - shift for x in own]
    lengths = [len(x) for x in stem]
    own = _rows(x + student._positions(x, None) for x in own)
    own = _normed(student.encoder.layer_norm, own, _rows(wanted) @ p)
    kept = [_share(own, _rows(wanted) @ p)]
    at = 0
    for number, of in blocks:
        for skipped in range(at, of - 1):
            wanted = [teacher.encoder.layers[skipped](x) for x in wanted]
        heard, wanted, before = *_heard(teacher.encoder.layers[of - 1], wanted), _rows(wanted)
        at = of
        pair = student.encoder.layers[number - 1], teacher.encoder.layers[of - 1]
        own = _block(*pair, own, before, heard, p, lengths)
        kept.append(_share(own, heard.out @ p))
    student.train(training)
    logging.info(
        "%d of the teacher's %d directions have %.1f %% of its states' energy; the student follows "
        "them with %s of their variance, from the input of block 1 on",
        *p.T.shape, 100 * energy, ", ".join(f"{share:.2f}" for share in kept),
    )  # fmt: skip
    return kept


@torch.no_grad()
def directions(hidden: Iterable[Sequence[torch.Tensor]], d: int) -> tuple[torch.Tensor, float]:
    """The directions that a student's states stand for.

    Args:
        hidden: of each utterance its hidden states, (1, T, D). One basis is taken for all layers,
            whose states are added to each other.
        d: how many.

    Returns:
        (D, d) orthonormal, and their share of the energy of all states.
    """
    moment = sum(x[0].double().T @ x[0].double() for utterance in hidden for x in utterance)
    values, vectors = torch.linalg.eigh(moment)
    strongest = vectors.flip(1)[:, :d]
    # of a basis of R^d whose last vector is (1, …, 1)/√d, that one takes the weakest direction
    ones = torch.ones(d, 1, dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.cat([ones, torch.eye(d, dtype=torch.float64)[:, 1:]], 1))
    turn = torch.cat([basis[:, 1:], basis[:, :1]], 1)
    return (strongest @ turn.T).float(), float(values.flip(0)[:d].sum() / values.sum())


def _stem(student: Backbone, teacher: Backbone, mine: States, theirs: States) -> States:
    """Fit the convolutions; the input of the projection, (frames, channels), per utterance."""
    own, wanted = student.feature_extractor, teacher.feature_extractor
    projection = student.feature_projection
    if _same_stem(student, teacher):
        own.load_state_dict(wanted.state_dict())
    else:
        if wanted.norm == "corpus":
            for name in ("learned", "mean", "variance"):
                getattr(own, name).copy_(getattr(wanted, name))
        weights = teacher.feature_projection.projection.weight
        ours, others = ([_mels(s, w) for w in ws] for s, ws in ((own, mine), (wanted, theirs)))
        for n, (conv, of) in enumerate(zip(own.conv_layers, wanted.conv_layers, strict=True)):
            before = [of(x) for x in others]
            others = [functional.gelu(x) for x in before]
            behind = weights.T if n else wanted.conv_layers[1].weight.transpose(0, 1).flatten(1)
            energy = _rows(x.transpose(1, 2) for x in others).square().mean(0)
            chosen = _most(energy * behind.square().sum(1), conv.out_channels)
            inputs = torch.cat([_windows(x, conv) for x in ours])
            flat = torch.nn.Linear(inputs.size(1), conv.out_channels)
            flat = _fitted(flat, inputs, _rows(x.transpose(1, 2) for x in before)[:, chosen])
            conv.weight.copy_(flat.weight.view_as(conv.weight))
            conv.bias.copy_(flat.bias)
            ours = [functional.gelu(conv(x)) for x in ours]
    if hasattr(projection, "layer_norm"):
        torch.nn.init.ones_(projection.layer_norm.weight)
        torch.nn.init.zeros_(projection.layer_norm.bias)
    norm = getattr(projection, "layer_norm", torch.nn.Identity())
    return [norm(student._convolve(wave, None).transpose(1, 2))[0] for wave in mine]


def _mels(stem: MelStem, wave: torch.Tensor) -> torch.Tensor:
    """(1, S) → (1, 80, M)."""
    return stem._normalized(stem.log_mel(wave), None).transpose(1, 2)


def _positions(embed: torch.nn.Module, own: States, wanted: States) -> torch.Tensor:
    """Fit the convolution of the positions; what is to be taken from the frames before it, (d,).

    Args:
        embed: the student's.
        own: its frames, (1, T, d).
        wanted: what frames and positions are to be together.
    """
    conv, weights = embed.conv, torch.empty_like(embed.conv.weight)
    biases, inputs, outputs = torch.empty_like(conv.bias), *weights.shape[1::-1]
    outputs //= conv.groups
    said = torch.cat([(y - x)[0] for x, y in zip(own, wanted, strict=True)])
    for group in range(conv.groups):
        ins = slice(group * inputs, (group + 1) * inputs)
        outs = slice(group * outputs, (group + 1) * outputs)
        parts = (_windows(x[..., ins].transpose(1, 2), conv) for x in own)
        left = (y[0, :, outs] - x[0, :, outs] for x, y in zip(own, wanted, strict=True))
        weight, biases[outs] = _solved(zip(parts, left, strict=True))
        weights[outs] = weight.view_as(weights[outs]).to(weights)
    # three deviations, and where GELU is a line to one part in ten
    shift = 3 * said.std(0) + 1
    # sets the weight norm's parts, which have no direction where all is 0
    conv.weight = weights + torch.finfo(weights.dtype).eps
    # its frames will be lower by the shift, and what it says is to be higher
    conv.bias.copy_(biases + shift)
    flat = weights.view(conv.groups, outputs, inputs, -1).sum(3)
    conv.bias.add_((flat @ shift.view(conv.groups, inputs, 1)).flatten())
    return shift


def _windows(x: torch.Tensor, conv: torch.nn.Conv1d) -> torch.Tensor:
    """(1, C, T) → (T', C k): what a convolution multiplies with its flattened weights."""
    padded = functional.pad(x, (conv.padding[0],) * 2)
    parts = padded.unfold(2, conv.kernel_size[0], conv.stride[0])
    return parts[0].transpose(0, 1).flatten(1)


@contextmanager
def _listening(
    *places: tuple[torch.nn.Module, bool],
) -> Iterator[list[list[torch.Tensor]]]:
    """Gives what modules get (True) or give (False), (frames, values) of each call."""
    found: list[list[torch.Tensor]] = [[] for _ in places]

    def hook(into: list[torch.Tensor], before: bool) -> Callable[..., None]:
        return lambda _, inputs, output: into.append((inputs[0] if before else output)[0])

    hooks = [
        module.register_forward_hook(hook(into, before))
        for into, (module, before) in zip(found, places, strict=True)
    ]
    try:
        yield found
    finally:
        for one in hooks:
            one.remove()


def _heard(block: torch.nn.Module, states: States) -> tuple[Heard, States]:
    """What a block of the teacher says of each utterance, (1, T, D)."""
    places = (
        (block.layer_norm, True),
        (block.feed_forward.intermediate_dense, False),
        (block.final_layer_norm, True),
    )
    with _listening(*places) as found:
        out = [block(x) for x in states]
    return Heard(*(torch.cat(one) for one in found), _rows(out)), out


def _block(
    own: torch.nn.Module,
    of: torch.nn.Module,
    x: torch.Tensor,
    before: torch.Tensor,
    heard: Heard,
    p: torch.Tensor,
    lengths: Sequence[int],
) -> torch.Tensor:
    """Fit a block; its output.

    Args:
        own: the student's.
        of: the teacher's.
        x: the student's input, (frames, d).
        before: the teacher's input, (frames, D).
        heard: what the teacher's block said.
        p: (D, d).
        lengths: frames of each utterance.
    """
    _attention(own.attention, of.attention, x, before, p)
    with _listening((own.attention.out_proj, True)) as found:
        for part in x.split(list(lengths)):
            own.attention(part[None])
    context = torch.cat(found[0])
    _fitted(own.attention.out_proj, context, heard.attended @ p - x)
    x = x + own.attention.out_proj(context)
    x = _normed(own.layer_norm, x, of.layer_norm(heard.attended) @ p)
    inner, outer = own.feed_forward.intermediate_dense, own.feed_forward.output_dense
    act = own.feed_forward.intermediate_act_fn
    says = act(heard.inner).square().mean(0)
    behind = (p.T @ of.feed_forward.output_dense.weight).square().sum(0)
    chosen = _most(says * behind, inner.out_features)
    units = act(_fitted(inner, x, heard.inner[:, chosen])(x))
    x = x + _fitted(outer, units, heard.added @ p - x)(units)
    return _normed(own.final_layer_norm, x, heard.out @ p)


def _attention(
    own: torch.nn.Module,
    of: torch.nn.Module,
    x: torch.Tensor,
    before: torch.Tensor,
    p: torch.Tensor,
) -> None:
    """Queries, keys and values of each head, by the products that they are part of."""
    back = _fitted(torch.nn.Linear(x.size(1), before.size(1)), x, before)
    lift = torch.cat([back.weight, back.bias[:, None]], 1).double()  # (D, d + 1)
    ones = torch.cat([x, x.new_ones(len(x), 1)], 1).double()
    moment = ones.T @ ones / len(x)
    moment += RIDGE * moment.trace() / len(moment) * _eye(moment)
    values, vectors = torch.linalg.eigh(moment)
    root = vectors * values.sqrt() @ vectors.T
    inverse = vectors / values.sqrt() @ vectors.T
    maps = {}
    for name in ("q_proj", "k_proj", "v_proj"):
        linear = getattr(of, name)
        maps[name] = linear.weight.double() @ lift
        maps[name][:, -1] += linear.bias.double()
    wide, narrow = of.head_dim, own.head_dim
    scale = of.scaling / own.scaling
    outputs = p.double().T @ of.out_proj.weight.double()  # (d, D)
    for head in range(own.num_heads):
        rows = slice(head * wide, (head + 1) * wide)
        mine = slice(head * narrow, (head + 1) * narrow)
        q, k, v = (maps[name][rows] for name in ("q_proj", "k_proj", "v_proj"))
        u, s, w = torch.linalg.svd(root @ q.T @ k @ root)
        half = (s[:narrow] * scale).sqrt()[:, None]
        _put(own.q_proj, mine, half * (u.T[:narrow] @ inverse))
        _put(own.k_proj, mine, half * (w[:narrow] @ inverse))
        _, s, w = torch.linalg.svd(outputs[:, rows] @ v @ root, full_matrices=False)
        _put(own.v_proj, mine, s[:narrow].sqrt()[:, None] * (w[:narrow] @ inverse))


def _put(linear: torch.nn.Linear, rows: slice, values: torch.Tensor) -> None:
    linear.weight[rows] = values[:, :-1].float()
    linear.bias[rows] = values[:, -1].float()


def _fitted(linear: torch.nn.Linear, x: torch.Tensor, y: torch.Tensor) -> torch.nn.Linear:
    """A linear map, given its ridge regression from x to y, (frames, values) each."""
    weight, bias = _solved([(x, y)])
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
    return linear


def _solved(
    parts: Iterable[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a ridge regression; x may have some frames more than y at its end."""
    n, sums, square, product = 0, (0, 0), 0, 0
    for x, y in parts:
        x, y = x[: len(y)].double(), y.double()
        n, sums = n + len(y), (sums[0] + x.sum(0), sums[1] + y.sum(0))
        square, product = square + x.T @ x, product + x.T @ y
    means = sums[0] / n, sums[1] / n
    square = square - n * torch.outer(means[0], means[0])
    square += RIDGE * square.trace() / len(square) * _eye(square)
    weight = torch.linalg.solve(square, product - n * torch.outer(*means)).T
    return weight, means[1] - weight @ means[0]


def _normed(norm: torch.nn.LayerNorm, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The norm of x, its gain and offset of each value fitted to y, (frames, values) each."""
    plain = functional.layer_norm(x, norm.normalized_shape, eps=norm.eps)
    apart = plain - plain.mean(0)
    gain = (apart * (y - y.mean(0))).mean(0) / apart.square().mean(0).clamp(min=norm.eps)
    norm.weight.copy_(gain)
    norm.bias.copy_(y.mean(0) - gain * plain.mean(0))
    return norm(x)


def _most(says: torch.Tensor, n: int) -> torch.Tensor:
    """The n units that say most, in order; of equal ones the first."""
    return says.argsort(descending=True, stable=True)[:n].sort().values


def _share(x: torch.Tensor, y: torch.Tensor) -> float:
    """The share of y's variance that x has, (frames, values) each."""
    return float(1 - (x - y).square().sum() / (y - y.mean(0)).square().sum())


def _rows(states: Iterable[torch.Tensor]) -> torch.Tensor:
    """(1, T, D) each → (frames, D)."""
    return torch.cat([x[0] for x in states])


def _eye(square: torch.Tensor) -> torch.Tensor:
    return torch.eye(len(square), dtype=square.dtype)


def _same_stem(student: Backbone, teacher: Backbone) -> bool:
    ours, theirs = ((m.feature_extractor, m.config) for m in (student, teacher))
    shapes = [{k: v.shape for k, v in stem.state_dict().items()} for stem, _ in (ours, theirs)]
    norms = [getattr(config, "mel_norm", None) for _, config in (ours, theirs)]
    return shapes[0] == shapes[1] and norms[0] == norms[1]
