"""The embedded corpus: what is planned, what is recorded, and how the command behaves."""

import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import ConfigError
from espnet_dice.records import phones
from local.mini_synth import config, plan, sound, text
from local.mini_synth.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]
MAKE = ROOT / "local" / "mini_synth" / "make.py"
SMALL = """
sets:
  a_train: {utterances: 7, voices: 3}
  a_dev: {utterances: 2, voices: 2}
  b_train: {utterances: 3, voices: 3}
  b_dev: {utterances: 2, voices: 2}
  s_train_few: {utterances: 3, voices: 2}
  s_train: {utterances: 6, voices: 2, transcript_errors: 0.5}
  s_valid: {utterances: 2, voices: 2}
  s_dev: {utterances: 2, voices: 2}
  s_test: {utterances: 4, voices: 2, noise: {babble: 1}}
lm_text: {train: {a: 5, b: 5, s: 5}, dev: {a: 2, b: 2, s: 2}}
"""


def make(out, *args, jobs=1, hash_seed="0", path="", settings=SMALL):
    """Run the command; its finished process."""
    file = Path(out).parent / "small.yaml"
    file.write_text(settings)
    env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(path)}
    command = [sys.executable, MAKE, "--out", out, "--config", file, "--jobs", str(jobs), *args]
    return subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The small corpus, made once."""
    pytest.importorskip("espeakng_loader", reason="the synth extra is not installed")
    out = tmp_path_factory.mktemp("corpus") / "data"
    done = make(out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def planned():
    """The default settings and their plan."""
    settings = config.load()
    return settings, plan.plan_sets(settings, 0), plan.plan_lm_text(settings, 0)


def contents(directory):
    """Every file below a directory."""
    files = (p for p in sorted(directory.rglob("*")) if p.is_file())
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


def test_bytes_depend_on_neither_jobs_nor_hash_seed(corpus, tmp_path):
    done = make(tmp_path / "again", jobs=2, hash_seed="77")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "again") == contents(corpus)


def test_another_seed_is_another_corpus(planned):
    settings, sets, _ = planned
    other = plan.plan_sets(settings, 1)
    assert [u.said for u in other["s_test"]] != [u.said for u in sets["s_test"]]
    assert {u.voice.variant for u in other["s_test"]} != {u.voice.variant for u in sets["s_test"]}


def test_voices_of_tests_and_devs_are_in_no_other_set(planned):
    settings, sets, _ = planned
    variants = {name: {u.voice.variant for u in rows} for name, rows in sets.items()}
    for name, s in settings["sets"].items():
        assert len({u.voice for u in sets[name]}) == s["voices"]
        for other in variants.keys() - {name}:
            if s["own_variants"]:
                assert not variants[name] & variants[other], (name, other)
    assert {"s_test", "s_dev"} <= {n for n, s in settings["sets"].items() if s["own_variants"]}
    background = {u.voice.variant for u in plan.plan_babble(settings, 0)}
    assert not background & variants["s_test"]


def test_sentences_of_the_test_set_are_nowhere_else(planned):
    _, sets, lm_text = planned
    tested = {u.said for u in sets["s_test"]}
    others = {u.said for name, rows in sets.items() if name != "s_test" for u in rows}
    assert len(tested) > len(sets["s_test"]) / 2  # other voices may say the same
    assert not tested & (others | set(lm_text["train"]) | set(lm_text["dev"]))
    assert not set(lm_text["train"]) & set(lm_text["dev"])


def test_each_teacher_knows_the_words_of_the_student_from_other_sentences(planned):
    _, sets, _ = planned
    words = {name: {w for u in rows for w in u.said.split()} for name, rows in sets.items()}
    assert words["s_test"] <= words["s_train"] == words["s_train_few"]
    said = {name: {u.said for u in rows} for name, rows in sets.items()}
    for teacher in ("a_train", "b_train"):
        assert words["s_train"] <= words[teacher]
        assert said["s_train"] - said[teacher] and said[teacher] - said["s_train"]


def perplexity(train, test, size):
    """Of a word in its sentence, by counts of pairs, smoothed (Witten-Bell), in float64."""
    pairs, firsts, follows = Counter(), Counter(), {}
    for line in train:
        words = ["<s>", *line.split(), "</s>"]
        for a, b in itertools.pairwise(words):
            pairs[a, b] += 1
            firsts[a] += 1
            follows.setdefault(a, set()).add(b)
    log, n = 0.0, 0
    for line in test:
        words = ["<s>", *line.split(), "</s>"]
        for a, b in itertools.pairwise(words):
            kinds = len(follows.get(a, ())) or 1
            log -= math.log((pairs[a, b] + kinds / size) / (firsts[a] + kinds))
            n += 1
    return math.exp(log / n)


def test_who_knows_the_sentences_can_tell_the_words_apart(planned):
    """The LM knows far more than any order of words, and more than few transcripts say."""
    settings, sets, lm_text = planned
    tested = [u.said for u in sets["s_test"]]
    size = len({w for line in lm_text["train"] for w in line.split()}) + 1
    known, few = (
        perplexity(train, tested, size)
        for train in (lm_text["train"], [u.text for u in sets["s_train_few"]])
    )
    assert known < size / 5
    assert known < 0.85 * few
    company = settings["domains"]["s"]["company"]
    for group in (g.split() for g in settings["confusable"]):
        for a, b in itertools.combinations([w for w in group if w in company], 2):
            shared = [set(company[a][c].split()) & set(company[b][c].split()) for c in company[a]]
            assert not any(shared), (a, b)


def test_company_is_kept_and_a_wrong_one_named():
    settings = config.load()["domains"]["s"]
    grammar = plan.grammar_of("s", settings)
    rng = text.generator("company")
    for words in (set(grammar.draw(rng).split()) for _ in range(300)):
        (noun,) = words & set(settings["company"])
        for c, kept in settings["company"][noun].items():
            assert words & set(settings["words"][c].split()) <= set(kept.split())
    with pytest.raises(ConfigError, match="company.PIN.VERB.SAIL"):
        config.load(None, ["domains.a.company.PIN.VERB=SAIL"])
    with pytest.raises(ConfigError, match="no VERB goes with PIN"):
        text.Grammar(
            "s",
            {"VERB": "MAKE", "NOUN": "PIN"},
            ["VERB NOUN"],
            [2, 2],
            None,
            {"PIN": {"VERB": "TAKE"}},
        ).draw(rng)


def test_digits_are_a_domain_of_their_own(planned):
    settings = config.load(config.DEFAULTS.with_name("digits.yaml"))
    sets = plan.plan_sets(settings, 0)
    digits = set(settings["domains"]["digits"]["words"]["DIGIT"].split())
    assert {w for u in sets["synth_train"] for w in u.said.split()} == digits
    said = {name: {u.said for u in sets[name]} for name in ("synth_train", "synth_dev")}
    assert not said["synth_train"] & said["synth_dev"]
    voices = {name: {u.voice.variant for u in sets[name]} for name in said}
    assert not voices["synth_train"] & voices["synth_dev"]


def test_greek_is_a_domain_of_its_own():
    settings = config.load(config.DEFAULTS.with_name("greek.yaml"))
    sets = plan.plan_sets(settings, 0)
    words = set(" ".join(settings["domains"]["el"]["words"].values()).split())
    for name in settings["sets"]:
        assert settings["sets"][name]["domain"] == "el"
        said = {w for u in sets[name] for w in u.said.split()}
        assert said <= words and not re.search("[A-Z]", " ".join(said))
    lines = {line for rows in plan.plan_lm_text(settings, 0).values() for line in rows}
    assert lines and not lines & {u.said for u in sets["s_test"]}


def test_the_teachers_heard_ten_times_what_the_student_has(planned):
    _, sets, _ = planned
    few, voices = (len(x) for x in (sets["s_train_few"], {u.voice for u in sets["s_train_few"]}))
    heard = sets["a_train"] + sets["b_train"]
    assert len(heard) >= 10 * few and len({u.voice for u in heard}) >= 10 * voices
    assert all(u.text == u.said for u in sets["s_train_few"])


def test_texts_are_capitals_of_two_to_six_words(planned):
    _, sets, lm_text = planned
    lines = [u.text for rows in sets.values() for u in rows]
    for line in lines + lm_text["train"] + lm_text["dev"]:
        assert re.fullmatch(r"[A-Z']+( [A-Z']+){1,5}", line), line


def test_more_utterances_keep_the_old_ones_and_other_sets(planned):
    _, sets, _ = planned
    more = plan.plan_sets(config.load(None, ["sets.s_train.utterances=500"]), 0)
    assert {u.record()["utt"]: u for u in sets["s_train"]}.items() <= {
        u.utt: u for u in more["s_train"]
    }.items()
    assert all(more[name] == sets[name] for name in sets if name != "s_train")


def test_more_student_voices_leave_the_test_voices(planned):
    _, sets, _ = planned
    more = plan.plan_sets(config.load(None, ["sets.s_train.voices=12"]), 0)
    assert len({u.voice for u in more["s_train"]}) == 12
    assert more["s_test"] == sets["s_test"]


def test_transcript_errors_come_at_the_rate_asked_and_in_training_alone(planned):
    settings = config.load(None, ["sets.s_train.transcript_errors=0.2"])
    rows = plan.plan_sets(settings, 0)["s_train"]
    _, sets, _ = planned
    assert [u.said for u in rows] == [u.said for u in sets["s_train"]]
    pairs = [p for u in rows for p in zip(u.said.split(), u.text.split(), strict=True)]
    wrong = [(a, b) for a, b in pairs if a != b]
    spread = 3 * np.sqrt(0.2 * 0.8 / len(pairs))
    assert abs(len(wrong) / len(pairs) - 0.2) < spread
    groups = [g.split() for g in settings["confusable"]]
    grouped = [(a, b) for a, b in wrong if any(a in g for g in groups)]
    assert grouped and all(any(a in g and b in g for g in groups) for a, b in grouped)
    assert all(u.text == u.said for name in sets if name != "s_train" for u in sets[name])
    with pytest.raises(ConfigError, match="s_test.transcript_errors"):
        config.load(None, ["sets.s_test.transcript_errors=0.1"])


def test_data_directories_are_whole(corpus):
    facts = json.loads((corpus / "corpus.json").read_text())
    for name, found in facts["sets"].items():
        data = read_data_dir(corpus / name)
        assert len(data) == found["utterances"] and len(data.speakers) == found["voices"]
        seconds = 0.0
        for u in data:
            info = soundfile.info(u.recording.source)
            assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
            assert 0.5 < info.duration < 5, u.id
            assert u.id.startswith(u.speaker)
            seconds += info.duration
        assert seconds / 60 == pytest.approx(found["minutes"], abs=1e-3)
    assert facts["sets"]["s_train"]["wrong_words"] > 0
    assert len((corpus / "lm_text" / "train.txt").read_text().splitlines()) == 15


def test_phones_are_where_they_sound(corpus):
    """The hiss of s crosses zero far more often than a vowel does."""
    rates, silence = {"s": [], "a": []}, 0.0
    for name in ("a_train", "b_train"):
        data = read_data_dir(corpus / name)
        waves = {u.id: soundfile.read(u.recording.source)[0] for u in data}
        seconds = {utt: len(wave) / 16000 for utt, wave in waves.items()}
        found = phones.read([corpus / name / "phones.item"], seconds)
        assert set(found) == set(waves)
        for utt, spoken in found.items():
            phones.on_frames(spoken, int(50 * seconds[utt]))  # none overlap
            assert {p.speaker for p in spoken} == {utt.rpartition("-")[0]}
            silence += seconds[utt] - sum(p.offset - p.onset for p in spoken)
            for p in spoken:
                wave = waves[utt][round(16000 * p.onset) : round(16000 * p.offset)]
                if p.name in rates and len(wave) > 480:
                    rates[p.name].append(np.mean(np.diff(np.sign(wave)) != 0))
    assert len(rates["s"]) > 3 < len(rates["a"])
    assert np.median(rates["s"]) > 1.5 * np.median(rates["a"])
    assert silence > 0


@pytest.mark.parametrize("kind", ["white", "pink", "babble"])
def test_noise_has_the_snr_asked_and_speech_stays_in_place(kind):
    pytest.importorskip("espeakng_loader", reason="the synth extra is not installed")
    keys = ["sets.s_dev.reverb.probability=0", "sets.s_dev.level_db=[-30, -30]"]
    clean, noisy = (
        config.load(None, [*keys, f"sets.s_dev.noise={noise}", "sets.s_dev.snr_db=[7, 7]"])
        for noise in ("{none: 1}", f"{{{kind}: 1}}")
    )
    u = plan.plan_sets(clean, 0)["s_dev"][5]
    waves = []
    for settings in (clean, noisy):
        recorder = Recorder(settings, plan.plan_babble(settings, 0))
        waves.append(recorder.record("s_dev", u)[0].astype(float) / 32767)
        recorder.close()
    speech, both = waves
    spoken = np.flatnonzero(speech)
    span = slice(spoken[0], spoken[-1] + 1)
    noise = both - speech
    snr = 10 * np.log10(np.mean(speech[span] ** 2) / np.mean(noise[span] ** 2))
    assert snr == pytest.approx(7, abs=0.1)
    assert 10 * np.log10(np.mean(speech[span] ** 2)) == pytest.approx(-30, abs=0.1)
    assert np.mean(noise[: span.start] ** 2) > 0


@pytest.mark.parametrize("frequency", [150.0, 1000.0, 7000.0])
def test_resampling_keeps_a_tone(frequency):
    tone = np.sin(2 * np.pi * frequency * np.arange(22050) / 22050)
    out = sound.resample(tone, 22050, 16000)
    expected = np.sin(2 * np.pi * frequency * np.arange(16000) / 16000)
    assert len(out) == 16000
    assert np.abs(out - expected)[200:-200].max() < 1e-3
    assert (
        np.abs(sound.resample(np.sin(2.4 * np.arange(4410)), 22050, 16000))[200:-200].max() < 1e-2
    )


def test_convolution_and_fast_lengths_against_the_definition():
    rng = text.generator("convolution")
    a, b = rng.standard_normal(301), rng.standard_normal(77)
    assert sound.convolve(a, b, 500)[:377] == pytest.approx(np.convolve(a, b), abs=1e-10)
    smooth = sorted(2**i * 3**j * 5**k for i in range(12) for j in range(8) for k in range(6))
    for n in (1, 2, 7, 31, 97, 1025, 1999):
        assert sound.fast_length(n) == next(s for s in smooth if s >= n)


def test_pink_noise_falls_by_three_db_an_octave():
    power = np.abs(np.fft.rfft(sound.pink(2**17, text.generator("pink")))) ** 2
    octaves = [power[2**k : 2 ** (k + 1)].mean() for k in range(8, 16)]
    slope = np.polyfit(np.arange(8), 10 * np.log10(octaves), 1)[0]
    assert slope == pytest.approx(-3.01, abs=0.2)


@pytest.mark.parametrize("n", [1, 15, 16, 16875])  # 3³ · 5⁴, odd: no length of its spectrum says so
def test_pink_noise_is_as_long_as_asked(n):
    assert len(sound.pink(n, text.generator("pink"))) == n


def test_reverberation_keeps_the_direct_path_and_decays_as_asked():
    rng = text.generator("room")
    pulse = np.r_[np.zeros(10), 1.0]
    wet = sound.reverberate(pulse, 9000, 16000, t60=0.5, direct_db=6.0, rng=rng)
    assert wet[10] == pytest.approx(1) and np.allclose(wet[:10], 0, atol=1e-12)
    tail = wet[11:8011] ** 2
    assert 10 * np.log10(1 / tail.sum()) == pytest.approx(6, abs=1e-3)
    drop = 10 * np.log10(tail[:800].mean() / tail[4000:4800].mean())
    assert drop == pytest.approx(30, abs=1.5)  # 0.25 s of 0.5 s: half of 60 dB


def test_a_full_scale_recording_does_not_clip():
    rng = text.generator("loud")
    out = sound.mix(rng.standard_normal(800), rng.standard_normal(800), slice(0, 800), 0, 0)
    assert np.abs(out).max() == pytest.approx(sound.LIMIT)


def test_a_second_run_does_nothing_and_an_interrupted_one_goes_on(corpus):
    stamp = (corpus / "a_train" / "text").stat().st_mtime_ns
    before = contents(corpus)
    (corpus / "s_dev" / ".fingerprint.json").rename(corpus.parent / "kept")
    refused = make(corpus)
    assert refused.returncode == 2 and "s_dev is there and was not made" in refused.stderr
    for file in (corpus / "s_dev").rglob("*"):
        file.is_file() and file.unlink()
    (corpus / "s_dev" / "wav").rmdir()
    done = make(corpus)
    assert done.returncode == 0 and "nothing to do" not in done.stdout
    assert contents(corpus) == before
    again = make(corpus)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert (corpus / "a_train" / "text").stat().st_mtime_ns == stamp


def test_other_settings_are_refused_unless_told_to_replace(corpus, tmp_path):
    out = tmp_path / "data"
    args = ("--only", "s_dev")
    assert make(out, *args).returncode == 0
    refused = make(out, *args, "--set", "sets.s_dev.snr_db=[0, 1]")
    assert refused.returncode == 2 and "snr_db" in refused.stderr
    assert "--overwrite" in refused.stderr and "Traceback" not in refused.stderr
    old = contents(out / "s_dev" / "wav")
    done = make(out, *args, "--set", "sets.s_dev.snr_db=[0, 1]", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert contents(out / "s_dev" / "wav").keys() == old.keys()
    assert contents(out / "s_dev" / "wav") != old


def test_what_another_directory_has_is_copied_and_not_spoken(corpus, tmp_path):
    hide = tmp_path / "hide"  # whatever is spoken fails
    hide.mkdir()
    (hide / "espeakng_loader.py").write_text("raise ImportError('hidden')\n")
    out = tmp_path / "data"
    taken = make(out, "--like", corpus, path=hide)
    assert taken.returncode == 0, taken.stderr
    assert contents(out) == contents(corpus)
    other = ("--like", corpus, "--set", "sets.s_dev.snr_db=[0, 1]", "--overwrite")
    assert "espnet-dice[synth]" in make(out, *other, path=hide).stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_missing_wheel_is_one_line_with_the_way_out(tmp_path, jobs):
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "espeakng_loader.py").write_text("raise ImportError('hidden')\n")
    failed = make(tmp_path / "data", jobs=jobs, path=hide)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert 'pip install "espnet-dice[synth]"' in failed.stderr
    assert not (tmp_path / "data" / "a_train").exists()


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("speed=1", "speed"),
        ("sets.s_train.snr=[1, 2]", "sets.s_train.snr"),
        ("sets.s_train.snr_db=[2, 1]", "sets.s_train.snr_db"),
        ("sets.s_train.voices=0", "sets.s_train.voices"),
        ("sets.s_train.domain=z", "sets.s_train.domain"),
        ("sets.s_train.noise={brown: 1}", "sets.s_train.noise.brown"),
        ("sets.s_train.reverb.rt=1", "sets.s_train.reverb.rt"),
        ("domains.s.words.NOUN=MP3", "MP3"),
        ("lm_text.train.z=3", "lm_text.train.z"),
        ("domains.c={accents: [en]}", "domains.c"),
    ],
)
def test_a_wrong_setting_is_named(assignment, named):
    with pytest.raises(ConfigError, match=re.escape(named)):
        config.load(None, [assignment])


def test_a_set_can_have_noise_of_its_own():
    settings = config.load(None, ["sets.s_train.noise={none: 1}"])
    assert settings["sets"]["s_train"]["noise"] == {"none": 1}
    assert settings["sets"]["s_test"]["noise"] == {"white": 1, "pink": 1}
