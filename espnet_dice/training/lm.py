"""The training of a language model, and its perplexity.

``perplexity.json`` holds the perplexity per token (<eos> included) and per word on the development
text.
"""

import math
from functools import partial
from pathlib import Path

from espnet_dice.io import espnet_options, texts
from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import DataError, StaleError
from espnet_dice.io.fingerprint import digest_files
from espnet_dice.io.json_files import read_json, write_json
from espnet_dice.records import experiment, tokens, transcripts
from espnet_dice.training.jobs import Job

CRITERION, NBEST = ("valid", "loss", "min"), 1
PERPLEXITY = "perplexity.json"


def gather(paths: list[Path], out: Path, token_list: Path) -> None:
    """Put several texts into one Kaldi ``text`` with its shape file; ids get the file's number.

    Line by line: memory does not grow with the texts.

    Args:
        paths: Kaldi ``text`` files, or ``….txt`` with bare sentences.
        out: directory of ``text`` and ``text_shape``.
        token_list: directory of the token list.

    Raises:
        DataError: a text has characters outside the token list.
    """
    known = tokens.load(token_list)
    with atomic_file(out / "text") as text, atomic_file(out / "text_shape") as shape:
        for n, path in enumerate(paths, 1):
            for utt, words in transcripts.read_text(path, known, transcripts.Unseen()):
                text.write(f"{n}-{utt} {words}\n")
                shape.write(known.shape_line(f"{n}-{utt}", words))


def make_job(
    tag: str,
    config: Path,
    train: list[Path],
    valid: list[Path],
    token_list: Path,
    exp: Path,
    seed: int,
    extra: str = "",
) -> Job:
    """The job that makes ``exp/lm_<tag>`` and its perplexity."""
    out = experiment.directory_of(exp, "lm", tag)
    data = [
        *("--token_type", "bpe", "--bpemodel", str(token_list / tokens.MODEL)),
        *("--token_list", str(token_list / tokens.LIST), "--fold_length", "150"),
    ]
    for part in ("train", "valid"):
        text = espnet_options.triple(out / part / "text", "text", "text")
        data += [f"--{part}_data_path_and_name_and_type", text]
        data += [f"--{part}_shape_file", str(out / part / "text_shape")]
    for path in (*train, *valid):
        if not path.is_file():
            raise DataError(f"{path} is missing: a text for the language model (stages 1 and 2)")
    return Job(
        task="lm",
        out=out,
        config=config,
        data=data,
        inputs={
            "train": digest_files(train),
            "valid": digest_files(valid),
            "tokens": tokens.key_of(token_list),
        },
        criterion=CRITERION,
        nbest=NBEST,
        seed=seed,
        extra=extra,
        prepare=partial(_prepare, out, train, valid, token_list),
        after=partial(write_perplexity, out),
    )


def _prepare(out: Path, train: list[Path], valid: list[Path], token_list: Path) -> None:
    gather(train, out / "train", token_list)
    gather(valid, out / "valid", token_list)


def write_perplexity(out: Path) -> None:
    """Compute the perplexity of ``out/valid/text`` and write ``perplexity.json``.

    exp(Σ nll / Σ tokens): ESPnet's sums of -log p over the tokens and <eos> of each sentence. On
    the CPU: seconds for thousands of sentences with a small model, minutes with the paper's.
    """
    from espnet2.bin.lm_calc_perplexity import calc_perplexity

    where = out / "perplexity"
    calc_perplexity(
        output_dir=str(where),
        batch_size=64,
        dtype="float32",
        ngpu=0,
        seed=0,
        num_workers=0,
        log_level="WARNING",
        data_path_and_name_and_type=[(str(out / "valid" / "text"), "text", "text")],
        key_file=None,
        train_config=str(out / "config.yaml"),
        model_file=str(out / "valid.loss.ave.pth"),
        log_base=None,
        allow_variable_data_keys=False,
    )
    per_token = float((where / "ppl").read_text())
    n_tokens = sum(int(float(n)) for n in texts.table(where / "utt2ntokens").values())
    words = [len(said.split()) for said in texts.table(out / "valid" / "text").values()]
    # a word model would predict each word and the sentence end
    n_words = sum(words) + len(words)
    values = {
        "per_token": per_token,
        "per_word": math.exp(min(700.0, math.log(per_token) * n_tokens / n_words)),
        "tokens": n_tokens,
        "words": n_words,
        "sentences": len(words),
    }
    write_json(out / PERPLEXITY, values)


def summary(out: Path) -> str:
    """One line: size and perplexity.

    Raises:
        StaleError: the model or its perplexity is not there.
        DataError: the perplexity's file is damaged.
    """
    e = experiment.load(out, "stage 4 (language model)")
    p = read_json(out / PERPLEXITY)
    if p is None:
        raise StaleError(f"{out / PERPLEXITY} is missing: remove {out}, run stage 4 again")
    return (
        f"{e.name}: {e.parameters / 1e6:.2f} M parameters; perplexity {p['per_token']:.2f} a "
        f"token, {p['per_word']:.1f} a word, on {p['sentences']} sentences"
    )
