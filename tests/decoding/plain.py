"""Joint CTC/attention beam search as Watanabe et al. 2017 have it: loops, float64, every prefix.

Nothing of ours and nothing of ESPnet's search: only its models are asked, with a whole prefix.
"""

import math

import numpy as np

NONE = -math.inf


def ctc_spoken(log_probs, spoken, silent, last, c, blank=0):
    """log p(frames up to t say a prefix and then c), ending in c and in a blank.

    Args:
        log_probs: (T, V).
        spoken, silent: the same of the prefix, (T,) each.
        last: its last token, None where it is empty.
        c: the token after it.
    """
    longer_spoken, longer_silent = np.full_like(spoken, NONE), np.full_like(silent, NONE)
    for t in range(len(log_probs)):
        if t:
            begins = silent[t - 1] if c == last else np.logaddexp(spoken[t - 1], silent[t - 1])
            stays, leaves = longer_spoken[t - 1], longer_silent[t - 1]
            longer_spoken[t] = np.logaddexp(begins, stays) + log_probs[t, c]
            longer_silent[t] = np.logaddexp(stays, leaves) + log_probs[t, blank]
        elif last is None:
            longer_spoken[0] = log_probs[0, c]
    return longer_spoken, longer_silent


def ctc_begins(log_probs, spoken, silent, last, c):
    """log p(what is said begins with a prefix and c): c comes for the first time in some t."""
    begins = silent if c == last else np.logaddexp(spoken, silent)
    first = 0.0 if last is None else NONE
    return np.logaddexp.reduce(np.concatenate([[first], begins[:-1]]) + log_probs[:, c])


def search(log_probs, attend, beam, pre_beam, weight, extra, penalty, vocab, steps, least=0):
    """All that ends within ``steps`` tokens: (score, tokens with <sos> and <eos>), best first.

    Args:
        log_probs: of the CTC branch, (T, V).
        attend: tokens from <sos> → weighted log p of the next token by decoder and LM, (V,).
        beam: hypotheses that go on.
        pre_beam: tokens of each that CTC looks at, None for all.
        weight: of CTC.
        extra: <sos> and <eos>, the last token.
        penalty: for each token.
        vocab: V.
        steps: most of them.
        least: tokens before <eos>, at least.
    """
    empty = np.full(len(log_probs), NONE), np.cumsum(log_probs[:, 0])
    alive, ended = [(0.0, [extra], 0.0, empty)], []
    for step in range(steps):
        made = []
        for score, tokens, said, spoken in alive:
            scores = attend(tokens) + penalty
            tried = np.argsort(-scores)[: pre_beam or vocab]
            last = tokens[-1] if tokens[1:] else None
            for c in {*tried.tolist(), extra} - {0}:
                if c == extra:
                    heard = np.logaddexp(*(r[-1] for r in spoken))
                else:
                    heard = ctc_begins(log_probs, *spoken, last, c)
                if heard > NONE:
                    total = score + scores[c] + weight * (heard - said)
                    made.append((total, [*tokens, c], heard, (*spoken, last, c)))
        made = sorted(made, key=lambda h: -h[0])[:beam]
        final = step == steps - 1
        if step >= least:
            over = [h for h in made if final or h[1][-1] == extra]
            ended += [(h[0], [*h[1], extra] if final else h[1]) for h in over]
        alive = [
            (*h[:3], ctc_spoken(log_probs, *h[3])) for h in made if not final and h[1][-1] != extra
        ]
        if not alive:
            break
    return sorted(ended, key=lambda h: -h[0])
