"""Transcripts of corpora as the token list writes them; expectations by hand."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_dice.records.tokens import ALPHABET
from local.text_rules import RULES, transcript

CASES = {
    "none": [("as it is [x] 7", "as it is [x] 7")],
    "letters": [
        ("don’t stop — Naïve café-bar, “Hi”!", "DON'T STOP NAIVE CAFE BAR HI"),
        ("<laugh> yes [noise] {um} ' and/or", "YES AND OR"),
        ("hello [background noise] there <noise > I [ NOISE ] {breath sound}", "HELLO THERE I"),
        ("three < four and five > two", "THREE FOUR AND FIVE TWO"),
        ("[laughter-yes] he [Laughter-didn't]", "YES HE DIDN'T"),
        ("it&apos;s &quot;fine&quot; AT&amp;T R&D; caf&eacute;", "IT'S FINE AT AND T R AND D CAFE"),
        # signs without a space beside them
        ("Well...okay then yes,no", "WELL OKAY THEN YES NO"),
        ('the end.Start he said:"go"', "THE END START HE SAID GO"),
        ("ice_cream one/two one;two hello?yes", "ICE CREAM ONE TWO ONE TWO HELLO YES"),
        ("wait—what a–b c…d «oui»non “hi”you", "WAIT WHAT A B C D OUI NON HI YOU"),
        ("said ''go''again ``so'' it", "SAID GO AGAIN SO IT"),
        ("‘Hello,’ he said, ‘I don’t know’. ‘Tis ‘em", "HELLO HE SAID I DON'T KNOW 'TIS 'EM"),
        ("¿qué?¡sí! am\u00a0I\u3000here zero\u200bwidth", "QUE SI AM I HERE ZERO WIDTH"),
        ("soft\u00adhyphen word\u2060joiner naïve™mark", "SOFTHYPHEN WORDJOINER NAIVE MARK"),
        # words with signs in them
        ("U.S. law, the U.S.law J.R.R. Tolkien", "US LAW THE US LAW JRR TOLKIEN"),
        ("so did I.A man; I.Then a.m.'s", "SO DID I A MAN I THEN AM'S"),
        ("rock'n'roll it’s donʼt don′t o＇clock", "ROCK'N'ROLL IT'S DON'T DON'T O'CLOCK"),
        ("it՚s it｀s it❜s it᾽s itʹs", "IT'S IT'S IT'S IT'S IT'S"),
        ("the U.S.A has J.R.R fans", "THE USA HAS JRR FANS"),
    ],
    "wsj": [
        # as in .dot files (LDC's dot_spec.doc)
        (
            r"Of course there isn\'t any guarantee [misc_noise]",
            "OF COURSE THERE ISN'T ANY GUARANTEE",
        ),
        (
            r"personal computers I\. B\. M\. introduced ,COMMA",
            "PERSONAL COMPUTERS I B M INTRODUCED COMMA",
        ),
        (
            '"DOUBLE-QUOTE --DASH %PERCENT .PERIOD (LEFT-PAREN )RIGHT-PAREN',
            "DOUBLE QUOTE DASH PERCENT PERIOD LEFT PAREN RIGHT PAREN",
        ),
        (
            "'SINGLE-QUOTE 'EM ’em <and> wo(rd)- *mis* hi:gh-tech !stress ~ . [loud noise]",
            "SINGLE QUOTE 'EM 'EM AND WO MIS HIGH TECH STRESS",
        ),
        (r"[<door_slam] a [phone_ring/] A\.\'s [/phone_ring]", "A A'S"),
        # as Kaldi's and ESPnet's recipes leave them
        ("THE <NOISE> MAN -DASH &AMPERSAND", "THE MAN DASH AMPERSAND"),
    ],
    "tedlium2": [
        (
            "i 'm here(2) <sil> {NOISE} today l ' amour (AaronHuey_2010X-1-2)",
            "I'M HERE TODAY L' AMOUR",
        ),
        ("it's [NOISE] the kids ' toys and {SMACK} 's", "IT'S THE KIDS' TOYS AND"),
        ("so <unk> 's name", "SO NAME"),
        ("rock-'n roll", "ROCK'N ROLL"),
    ],
}


@pytest.mark.parametrize(
    ("rule", "said", "wanted"), [(r, *case) for r, cases in CASES.items() for case in cases]
)
def test_transcripts_by_hand(rule, said, wanted):
    assert RULES[rule](said) == wanted


@pytest.mark.parametrize("rule", ["letters", "wsj", "tedlium2"])
@pytest.mark.parametrize("said", ["GATE 7", "Привет", "ßtraße ٣"])
def test_what_is_nobodys_to_guess(rule, said):
    with pytest.raises(ValueError, match=r"is none of A-Z, apostrophe, space"):
        RULES[rule](said)


@pytest.mark.parametrize("rule", ["letters", "wsj", "tedlium2"])
@pytest.mark.parametrize("sign", "+%‰@#=§°℃±×÷№$€₹￥")
def test_signs_that_are_words_are_not_lost(rule, sign):
    with pytest.raises(ValueError, match=rf"'{re.escape(sign)}' \(U\+.*said as a word: write that"):
        RULES[rule](f"salt {sign} pepper")


@pytest.mark.parametrize(
    "said", ["salt & pepper", "salt&pepper", "salt ＆ pepper", "salt &pepper."]
)
def test_an_ampersand_is_and(said):
    assert RULES["letters"](said) == RULES["tedlium2"](said) == "SALT AND PEPPER"


@settings(deadline=None)
@given(st.text(alphabet="abz'.,-([{<>}]) ~*\"É", max_size=30))
@pytest.mark.parametrize("rule", ["letters", "wsj", "tedlium2"])
def test_a_transcript_by_a_rule_is_one_of_the_token_list_and_stays_as_it_is(rule, said):
    once = RULES[rule](said)
    assert set(once) <= set(ALPHABET + " ") and once == " ".join(once.split())
    assert RULES[rule](once) == once


def test_utterances_that_are_left_out():
    assert transcript("of <unk> there", "tedlium2", "train") is None
    assert transcript("of <unk> there", "tedlium2", "dev") == "OF THERE"
    assert [transcript(f"of {x}", "letters", "train") for x in ("[UNK]", "<oov>")] == [None] * 2
    assert transcript("{NOISE} <sil>", "tedlium2", "test") is None
