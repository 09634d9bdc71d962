"""Properties of every parser and store, over inputs that nobody would think of.

Seeds are fixed, so a run is the same everywhere; ``HYPOTHESIS_EXAMPLES`` makes it a long one.
"""

import gzip
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_dice.dice import crop
from espnet_dice.hubert.models import frames
from espnet_dice.io import arks, fingerprint, texts
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DiceError
from espnet_dice.io.sound.ark_sounds import read_entry
from espnet_dice.io.sound.containers import Disagreement
from espnet_dice.io.sound.sound import Sound
from espnet_dice.io.tables import Table
from espnet_dice.kd import cache
from espnet_dice.labels import store
from espnet_dice.labels.codebook import Codebook
from espnet_dice.records import tokens, transcripts
from local import text_rules
from tests.arks import write_ark_scp
from tests.campaign.lengths import decoded, encoded

settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "40")),
)
settings.load_profile("fixed")

IDS = st.text("abcXYZ019_-./%äж", min_size=1, max_size=8)
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Z", "Cf"]), min_size=1, max_size=6)
SPACE = st.sampled_from([" ", "\t", "  ", " \t "])
TABLES = st.sampled_from(["wav.scp", "segments", "text", "utt2spk"])
SECONDS = st.floats(0, 1e4, allow_nan=False)


def in_directory(test):
    """Run an example in a directory of its own."""

    def run(*args):
        with tempfile.TemporaryDirectory() as tmp:
            test(Path(tmp), *args)

    return run


PIECES = [
    b"",
    b" ",
    b"u a",
    b"u",
    b"v\ta  b",
    b"w \xff",
    b"\xc3\xa4 1",
    b"x\0 y",
    b"\xc2\xa0",
    b"z\r",
]
BYTES = st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=6).map(b"\n".join)


@given(BYTES, st.sampled_from([b"", b"u ", b"u a\nv ", b"\xef\xbb\xbf"]))
def test_any_bytes_are_a_table_or_problems(data, head):
    @in_directory
    def check(tmp):
        (tmp / "t").write_bytes(head + data)
        problems: list[str] = []
        table = Table(tmp / "t", problems, "hint")
        lines = (head + data).removesuffix(b"\n").split(b"\n")
        if (head + data).strip() and not (head + data).startswith((b"\xff\xfe", b"\xfe\xff")):
            # each line is a row or a problem, none is lost and none counts twice
            assert len(table.rows) + len(problems) == len(lines)
        else:
            assert len(problems) == 1 and not table.rows
        assert all(str(tmp / "t") in problem for problem in problems)
        assert all(key.isprintable() and key.split() == [key] for key in table.rows)

    check()


@given(
    st.dictionaries(IDS, st.lists(WORDS, min_size=1, max_size=4), min_size=1), SPACE, st.booleans()
)
def test_a_written_table_is_read_back(rows, space, windows):
    @in_directory
    def check(tmp):
        end = "\r\n" if windows else "\n"
        lines = [f"{key}{space}{space.join(words)} {end}" for key, words in rows.items()]
        (tmp / "t").write_bytes(("\ufeff" * windows + "".join(lines)).encode())
        problems: list[str] = []
        found = Table(tmp / "t", problems, "")
        assert problems == []
        assert {k: text.split() for k, text in found.rows.items()} == rows
        assert [found.line(key) for key in found.rows] == list(range(1, len(rows) + 1))

    check()


def corpus(tmp: Path, spans: dict[str, tuple[float, float]]) -> Path:
    """A data directory with segments of one recording."""
    (tmp / "a.wav").write_bytes(b"")
    tables = {
        "wav.scp": ["r a.wav"],
        "segments": [f"{u} r {a!r} {b!r}" for u, (a, b) in spans.items()],
        "text": [f"{u} ONE  TWO" for u in spans],
        "utt2spk": [f"{u} s" for u in spans],
    }
    for name, lines in tables.items():
        (tmp / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return tmp


@given(st.dictionaries(IDS, st.tuples(SECONDS, SECONDS), min_size=1, max_size=5))
def test_segments_are_read_as_written_or_refused(spans):
    @in_directory
    def check(tmp):
        good = {u: span for u, span in spans.items() if span[0] < span[1]}
        try:
            found = read_data_dir(corpus(tmp, spans))
        except DiceError as err:
            assert good != spans
            assert all(f"{u}: start" in str(err) for u in spans.keys() - good.keys())
        else:
            assert good == spans and [u.id for u in found] == sorted(spans)
            assert {u.id: (u.start, u.end) for u in found} == spans
            assert {u.text for u in found} == {"ONE TWO"}

    check()


@given(TABLES, st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_a_data_directory_with_a_few_bytes_changed(name, at, junk):
    @in_directory
    def check(tmp):
        corpus(tmp, {f"u{i}": (float(i), i + 1.0) for i in range(4)})
        data = (tmp / name).read_bytes()
        at_ = at % len(data)
        (tmp / name).write_bytes(data[:at_] + junk + data[at_ + len(junk) :])
        try:
            found = read_data_dir(tmp)
        except DiceError as err:
            assert str(tmp) in str(err)
        else:
            assert all(u.id.isprintable() and 0 <= u.start < u.end for u in found)

    check()


@given(st.text(st.sampled_from("AZ' é1\t\u2028\x0b"), max_size=12))
def test_transcripts_have_as_many_tokens_as_are_counted(text):
    @in_directory
    def check(tmp):
        (tmp / "text").write_text(f"u {text}\n", encoding="utf-8")
        try:
            found = transcripts.check_text(tmp / "text", tokens.fixed())
        except DiceError as err:
            assert not text.split() or set("".join(text.split())) - set(tokens.ALPHABET)
            assert f"{tmp / 'text'}:1" in str(err)
        else:
            assert found == {"u": " ".join(text.split())}
            # one a character, and one a word boundary in front of each word
            n = len("▁" + found["u"])
            assert tokens.fixed().shape_line("u", found["u"]) == f"u {n},31\n"

    check()


SAID = st.text("abcXYZ", min_size=2, max_size=5)
HELD = {*"<>[]{}'", *map(chr, text_rules.APOSTROPHES)}
SIGNS = st.characters(categories=["P", "S", "Z"]).filter(
    lambda s: s not in HELD and not text_rules.is_said(s) and not text_rules.AND.match(s)
)


@given(st.lists(SAID, min_size=1, max_size=4), st.data())
def test_signs_separate_words_and_none_is_lost(words, drawn):
    between = [drawn.draw(st.text(SIGNS, min_size=1, max_size=3)) for _ in words]
    text = "".join(sign + word for sign, word in zip(between, words, strict=True))
    wanted = " ".join(words).upper()
    assert text_rules.letters(text) == text_rules.letters(text + between[0]) == wanted
    assert text_rules.tedlium2(text.replace("(", "—").replace(")", "—")) == wanted


@given(st.lists(st.sampled_from(["it's", "U.S.", "x", "be"]), min_size=1, max_size=5), SPACE)
def test_letters_of_a_text_stay_in_their_order(words, space):
    found = text_rules.letters(space.join(words))
    assert found.replace(" ", "") == "".join(words).replace(".", "").upper()
    assert found.split() == [word.replace(".", "").upper() for word in words]


LINES = st.lists(st.lists(st.text("abYZ'é", min_size=1, max_size=4), min_size=1), min_size=1)


@given(LINES, SPACE, st.booleans(), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_a_text_is_read_as_it_was_written(sentences, space, mark, packed, end):
    @in_directory
    def check(tmp):
        rows = [f"u{i}{space}{space.join(words)}{end}" for i, words in enumerate(sentences)]
        data = ("\ufeff" * mark + "".join(rows)).encode()
        path = tmp / ("text.gz" if packed else "text")
        path.write_bytes(gzip.compress(data) if packed else data)
        found = dict(map(texts.split_id, texts.lines(path)))
        wanted = {f"u{i}": words for i, words in enumerate(sentences)}
        assert {utt: said.split() for utt, said in found.items()} == wanted

    check()


NAMES = st.text("aä語 ,:[]'\"#%|;&$()-=0", min_size=1, max_size=6).filter(
    lambda name: name == name.strip() and not name.endswith("|")
)
PLACES = st.sampled_from(["there", "up", "link", "absolute"])


@given(st.lists(st.tuples(NAMES, PLACES), min_size=1, max_size=5), NAMES)
def test_a_path_is_the_file_that_the_system_opens(entries, recipe):
    @in_directory
    def check(tmp):
        """``data`` is a link to another disk, with a file of the same name where text leads."""
        disk, data = tmp / "disk" / "sets" / "d", tmp / recipe / "data"
        disk.mkdir(parents=True)
        data.parent.mkdir()
        data.symlink_to(disk)
        lines, wanted = [], []
        for i, (name, place) in enumerate(entries):
            file = f"{i}{name}.wav"
            where = {"there": disk, "up": data.parent, "link": tmp / "disk", "absolute": tmp}[place]
            (where / file).write_bytes(b"right")
            if place == "link":
                (tmp / file).write_bytes(b"wrong")
            start = {"link": "../../", "absolute": f"{tmp}/"}.get(place, "")
            lines.append(f"u{i} {start}{file}")
            wanted.append(where / file)
        rows = "".join(f"{line}\n" for line in lines)
        (data / "wav.scp").write_text(rows, encoding="utf-8")
        found = read_data_dir(data, transcripts=False)
        for utt, path in zip(found, wanted, strict=True):
            assert utt.recording.kind == "file"
            assert os.path.samefile(utt.recording.source, path)

    check()


@settings(max_examples=15)
@given(st.lists(NAMES, min_size=1, max_size=4))
def test_a_command_reads_the_file_that_it_names(names):
    @in_directory
    def check(tmp):
        lines = []
        for i, name in enumerate(names):
            (tmp / f"{i}{name}").write_text(f"sound {i}")
            lines.append(f"u{i} cat {shlex.quote(f'{i}{name}')} |")
        (tmp / "wav.scp").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        for i, utt in enumerate(read_data_dir(tmp, allow_pipes=True, transcripts=False)):
            command = utt.recording.source
            said = subprocess.run(command, shell=True, cwd=utt.recording.cwd, capture_output=True)
            assert said.stdout.decode() == f"sound {i}"

    check()


@given(st.integers(0, 10**7))
def test_frames_and_samples(samples):
    n = frames.n_frames(samples)
    # frame t sees [320 t, 320 t + 400): the last one fits, one more would not
    assert n == 0 or 320 * (n - 1) + 400 <= samples
    assert 320 * n + 400 > samples
    assert frames.n_frames(frames.n_samples(n)) == n
    assert frames.n_samples(n) <= samples or n == 0


@given(st.integers(400, 9000), st.data())
def test_a_crop_has_the_labels_of_its_samples(samples, drawn):
    total = frames.n_frames(samples)
    wanted = drawn.draw(st.integers(1, total))
    seed = drawn.draw(st.one_of(st.none(), st.integers(0, 99)))
    start = crop.crop_start(total, wanted, None if seed is None else np.random.default_rng(seed))
    speech, labels = np.arange(samples), np.arange(total)
    cut, kept = crop.cut(speech, labels, start, wanted)
    assert frames.n_frames(len(cut)) == wanted == len(kept)
    for t in range(wanted):  # each frame sees what it saw in the whole
        whole = 320 * kept[t]
        assert cut[320 * t] == whole and cut[320 * t + 399] == whole + 399


SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 5))
MATRICES = st.dictionaries(IDS, SHAPES, min_size=1, max_size=5)


def filled(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Numbers of a shape."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@given(MATRICES)
def test_an_ark_gives_back_what_was_written(shapes):
    @in_directory
    def check(tmp):
        import kaldiio

        written = {utt: filled(shape, i) for i, (utt, shape) in enumerate(shapes.items())}
        made = write_ark_scp(written.items(), tmp / "a.ark", tmp / "a.scp")
        found = arks.ArkReader(tmp / "a.scp")
        found.check()
        assert made == shapes == {utt: found.shape(utt) for utt in found}
        theirs = kaldiio.load_scp(str(tmp / "a.scp"))
        for utt, matrix in written.items():
            np.testing.assert_array_equal(found[utt], matrix)
            np.testing.assert_array_equal(theirs[utt], matrix)

    check()


@given(MATRICES, st.integers(0, 10**6))
def test_an_ark_cut_anywhere_is_refused(shapes, at):
    @in_directory
    def check(tmp):
        written = {utt: filled(shape, 0) for utt, shape in shapes.items()}
        write_ark_scp(written.items(), tmp / "a.ark", tmp / "a.scp")
        data = (tmp / "a.ark").read_bytes()
        (tmp / "a.ark").write_bytes(data[: at % len(data)])
        try:
            arks.ArkReader(tmp / "a.scp").check()
        except DiceError as err:
            assert "a.ark" in str(err)
        else:
            raise AssertionError("not seen")

    check()


KINDS = st.sampled_from(
    [("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("WAVEX", "FLOAT"), ("RF64", "PCM_24"), ("W64", "ULAW")]
    + [("AIFF", "PCM_16"), ("AU", "PCM_24"), ("CAF", "PCM_32"), ("NIST", "PCM_16")]
    + [("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS")]
    + [("MP3", "MPEG_LAYER_III")]
)


@given(KINDS, st.integers(1, 20000), st.integers(1, 2), st.data())
def test_audio_has_its_length_and_a_part_of_it_is_refused(kind, samples, channels, drawn):
    data = encoded(0.3 * filled((samples, channels), 0).clip(-3, 3), kind)
    want = decoded(data)[0].reshape(-1, channels)
    sound = Sound(data)
    sound.check_end()
    start = drawn.draw(st.integers(0, sound.frames - 1))
    stop = drawn.draw(st.integers(start + 1, sound.frames))
    assert sound.frames == len(want)
    np.testing.assert_allclose(sound.read(0, sound.frames), want, atol=1e-6)
    np.testing.assert_allclose(sound.read(start, stop), want[start:stop], atol=1e-6)
    cut = data[: drawn.draw(st.integers(0, len(data) - 1))]
    try:
        sound = Sound(cut)
        got = sound.read(0, sound.frames)
    except Disagreement as err:
        assert str(err)
    else:  # a last byte that is no sample
        np.testing.assert_array_equal(got, want)
        assert len(data) - len(cut) <= 1


@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=4),
    st.sampled_from([("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")]),
    IDS,
)
def test_an_archive_of_audio_gives_back_its_files(lengths, kind, key):
    @in_directory
    def check(tmp):
        files = [encoded(0.3 * filled((n, 1), n).clip(-3, 3), kind) for n in lengths]
        ark, offsets = b"", []
        for data in files:
            ark += key.encode() + b" "
            offsets.append(len(ark))
            ark += data
        (tmp / "a.ark").write_bytes(ark)
        for offset, data in zip(offsets, files, strict=True):
            sound = Sound(read_entry(f"{tmp}/a.ark:{offset}"))
            np.testing.assert_array_equal(
                sound.read(0, sound.frames)[:, 0], decoded(data)[0], strict=True
            )

    check()


LENGTHS = st.dictionaries(IDS, st.integers(1, 9), min_size=1, max_size=5)


def stored(tmp: Path, lengths: dict[str, int]) -> dict[str, np.ndarray]:
    """A label store; its records."""
    codebook = Codebook.hard(filled((4, 3), 0))
    rng = np.random.default_rng(0)
    records = {u: rng.integers(4, size=(n, 1)).astype(np.uint16) for u, n in lengths.items()}
    store.write(tmp / "s", codebook, records)
    fingerprint.Fingerprint("labels", {}, {}).finish(tmp / "s")
    return records


@given(LENGTHS)
def test_a_store_gives_back_what_was_written(lengths):
    @in_directory
    def check(tmp):
        records = stored(tmp, lengths)
        reader = store.Reader(tmp / "s")
        reader.check()
        assert list(reader) == list(lengths)
        for utt, rows in records.items():
            np.testing.assert_array_equal(reader[utt], rows)
            np.testing.assert_array_equal(reader.ids(utt), rows[:, 0])
            assert reader.frames(utt) == lengths[utt]

    check()


@given(
    LENGTHS,
    st.sampled_from(["labels.1.bin", "labels.scp", store.CODEBOOK]),
    st.integers(0, 10**6),
    st.integers(1, 255),
)
def test_a_store_with_one_byte_changed_is_refused(lengths, name, at, flip):
    @in_directory
    def check(tmp):
        stored(tmp, lengths)
        data = bytearray((tmp / "s" / name).read_bytes())
        data[at % len(data)] ^= flip
        (tmp / "s" / name).write_bytes(data)
        try:
            store.Reader(tmp / "s").check()
        except DiceError as err:
            assert name in str(err)
        else:
            raise AssertionError("not seen")

    check()


@given(st.integers(1, 5), st.integers(2, 6), st.booleans(), st.data())
def test_a_cache_knows_its_transcripts(length, vocabulary, has_variances, drawn):
    import torch

    token = st.integers(0, vocabulary - 1)
    ids = np.array(drawn.draw(st.lists(token, min_size=length, max_size=length)))
    log_probs, variances = filled((length, vocabulary), 0), filled((length, vocabulary), 1)
    matrix = cache.pack(log_probs, variances if has_variances else None, ids)
    batch = torch.from_numpy(matrix)[None]
    sizes = torch.tensor([length])
    found = cache.unpack(batch, sizes, torch.from_numpy(ids)[None], vocabulary, -1, "a")
    np.testing.assert_array_equal(found[0][0].numpy(), log_probs)
    assert (found[1] is not None) == has_variances
    other = ids.copy()
    other[drawn.draw(st.integers(0, length - 1))] ^= 1
    try:
        cache.unpack(batch, sizes, torch.from_numpy(other)[None], vocabulary, -1, "a", ["u"])
    except DiceError as err:
        assert "a" in str(err) and "u" in str(err)
    else:
        raise AssertionError("another transcript was not seen")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
SETTINGS = st.dictionaries(st.text(min_size=1, max_size=4), PLAIN, min_size=1, max_size=4)


@given(SETTINGS, st.data())
def test_a_fingerprint_knows_what_changed(chosen, drawn):
    @in_directory
    def check(tmp):
        made = fingerprint.Fingerprint("stage", chosen, {"data": "k"})
        assert not made.is_done(tmp)
        made.begin(tmp)
        assert made.is_same(tmp) and not made.is_done(tmp)
        made.finish(tmp)
        turned = dict(reversed(chosen.items()))
        assert fingerprint.Fingerprint("stage", turned, {"data": "k"}).is_done(tmp)
        key = drawn.draw(st.sampled_from(sorted(chosen)))
        for change in (
            {**chosen, key: "another value"},
            {k: chosen[k] for k in chosen if k != key},
        ):
            other = fingerprint.Fingerprint("stage", change, {"data": "k"})
            assert not other.is_done(tmp) and other.why(tmp) == f"changed: {key}"
        other = fingerprint.Fingerprint("stage", chosen, {"data": "l"})
        assert not other.is_same(tmp) and other.why(tmp) == "changed: data"

    check()


@given(st.binary(max_size=40))
def test_any_bytes_are_a_fingerprint_or_refused(data):
    @in_directory
    def check(tmp):
        (tmp / fingerprint.NAME).write_bytes(data)
        try:
            found = fingerprint.read(tmp)
        except DiceError as err:
            assert fingerprint.NAME in str(err)
        else:
            assert "key" in found

    check()
