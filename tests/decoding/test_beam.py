"""Beams of any width, against ESPnet's search where that is right, and against plain loops."""

import argparse
import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from espnet_dice.decoding.beam import BatchSearch
from espnet_dice.decoding.wide import widen
from tests.decoding import plain

V, EOS = 31, 30
WIDTHS = (1, 10, 30, 31, 60, 200)
LAYER = {"attention_heads": 2, "linear_units": 16, "num_blocks": 1, "dropout_rate": 0.0}
FRAMES = (7, 4, 1)


@pytest.fixture(scope="module")
def models():
    """A recogniser and a language model, random and sure of themselves."""
    from espnet2.tasks.asr import ASRTask
    from espnet2.tasks.lm import LMTask

    tokens = ["<blank>", *(f"t{i}" for i in range(V - 2)), "<sos/eos>"]
    torch.manual_seed(1)
    conf = ASRTask.get_default_config()
    conf.update(
        token_list=tokens,
        input_size=20,
        frontend=None,
        specaug=None,
        normalize=None,
        encoder="transformer",
        encoder_conf={**LAYER, "output_size": 16},
        decoder="transformer",
        decoder_conf=LAYER,
        model="espnet",
        model_conf={"ctc_weight": 0.3},
        init=None,
    )
    model = ASRTask.build_model(argparse.Namespace(**copy.deepcopy(conf))).eval()
    conf = LMTask.get_default_config()
    lm = {"embed_unit": 16, "att_unit": 16, "head": 2, "unit": 16, "layer": 1}
    conf.update(token_list=tokens, lm="transformer", lm_conf=lm, init=None)
    language = LMTask.build_model(argparse.Namespace(**copy.deepcopy(conf))).eval().lm
    for linear in (model.ctc.ctc_lo, model.decoder.output_layer, language.decoder):
        linear.weight.data *= 4
    return model.requires_grad_(False), language.requires_grad_(False)


@pytest.fixture(scope="module")
def encoded():
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(t, 16, generator=generator) for t in FRAMES]


def recogniser(models, beam, ctc=0.3, lm=0.0, penalty=0.0, maxlenratio=0.0, minlenratio=0.0):
    """What BatchSearch needs of a Speech2Text, with ESPnet's batched search in it."""
    from espnet_dice.compat import moved_module

    model, language = models
    scorers = {
        "decoder": model.decoder,
        "ctc": moved_module("nets.scorers.ctc").CTCPrefixScorer(model.ctc, EOS),
        "lm": language,
        "length_bonus": moved_module("nets.scorers.length_bonus").LengthBonus(V),
    }
    kind = moved_module("nets.batch_beam_search").BatchBeamSearch
    search = kind(
        scorers,
        {"decoder": 1 - ctc, "ctc": ctc, "lm": lm, "length_bonus": penalty},
        beam_size=beam,
        vocab_size=V,
        sos=EOS,
        eos=EOS,
        pre_beam_score_key=None if ctc == 1.0 else "full",
    )
    ratios = {"maxlenratio": maxlenratio, "minlenratio": minlenratio}
    return SimpleNamespace(beam_search=search.eval(), asr_model=model, multi_asr=None, **ratios)


@pytest.fixture(scope="module")
def exact(models):
    """The same models in float64."""
    return [copy.deepcopy(m).double() for m in models]


def reference(asked, exact, x):
    """The best of :func:`plain.search`, in float64."""
    search, (model, language), x = asked.beam_search, exact, x.double()
    log_probs = model.ctc.log_softmax(x[None])[0].numpy()
    weights = search.weights

    def attend(tokens):
        y, total = torch.tensor(tokens), np.zeros(V)
        if weights["decoder"]:
            total += weights["decoder"] * model.decoder.score(y, None, x)[0].numpy()
        if weights["lm"]:
            total += weights["lm"] * language.score(y, None, x)[0].numpy()
        return total

    width, frames = search.beam_size, len(x)
    steps = int(asked.maxlenratio * frames) or frames
    least = int(asked.minlenratio * frames)
    pre_beam = search.pre_beam_size if search.do_pre_beam else None
    made = plain.search(
        *(log_probs, attend, width, pre_beam, weights["ctc"], EOS, weights["length_bonus"], V),
        steps,
        least,
    )
    return made[0]


@pytest.mark.parametrize("width", WIDTHS)
def test_any_beam_against_plain_loops(models, exact, encoded, width):
    # no end detection with a maxlenratio; wide beams are slow in loops: few steps
    asked = recogniser(models, width, lm=0.2, penalty=0.3, maxlenratio=1.0 if width < 30 else 0.4)
    assert BatchSearch.serves(asked)
    for x, (score, tokens) in zip(encoded, BatchSearch(asked)(encoded), strict=True):
        wanted, best = reference(asked, exact, x)
        assert tokens == best and score == pytest.approx(wanted, abs=1e-4)


OPTIONS = [
    {},
    {"ctc": 0.05, "penalty": 1.0},
    {"ctc": 0.9, "lm": 0.5},
    {"penalty": -1.0, "maxlenratio": 2.0},  # ESPnet's own: an IndexError after T + 1 steps
    {"maxlenratio": -3, "minlenratio": 0.2},
    {"minlenratio": 0.5, "maxlenratio": 0.8, "penalty": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("width", (4, 30, 60))
def test_a_batch_is_as_espnets_search(models, encoded, width, options):
    asked = recogniser(models, width, **options)
    ours = BatchSearch(asked)(encoded)
    if width >= V or options.get("maxlenratio", 0) not in (0, 0.8):  # else ESPnet's own is right
        widen(asked.beam_search)
    for x, found in zip(encoded, ours, strict=True):
        ratios = (asked.maxlenratio, asked.minlenratio)
        theirs = asked.beam_search(x, *ratios)
        if found is None:  # to be searched again with a lower minlenratio
            assert len(theirs[0].yseq) - 2 < int(asked.minlenratio * len(x))
            continue
        assert found[1] == theirs[0].yseq.tolist()
        assert found[0] == pytest.approx(float(theirs[0].score), abs=1e-3)


@pytest.mark.parametrize("ctc", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("width", WIDTHS)
def test_espnets_own_search_takes_any_beam(models, exact, encoded, width, ctc):
    """That of models which BatchSearch does not serve: both kinds, CTC alone, and no CTC."""
    from espnet_dice.compat import moved_module

    asked = recogniser(models, width, ctc, maxlenratio=0.4)
    assert BatchSearch.serves(asked) == (ctc == 0.3)
    one = copy.deepcopy(asked.beam_search)
    one.__class__ = moved_module("nets.beam_search").BeamSearch
    plain_espnet = copy.deepcopy(asked.beam_search)
    for search in (asked.beam_search, one):
        widen(search)
        widen(search)
    for x in encoded:
        found = [search(x, 0.4)[0] for search in (asked.beam_search, one)]
        wanted = reference(asked, exact, x) if ctc else None
        if width < V - 1:
            theirs = plain_espnet(x, 0.4)[0]
            wanted = (float(theirs.score), theirs.yseq.tolist())
        for hypothesis in found if wanted else ():
            assert hypothesis.yseq.tolist() == wanted[1]
            assert float(hypothesis.score) == pytest.approx(wanted[0], abs=1e-3)
        assert found[0].yseq.tolist() == found[1].yseq.tolist()
