"""Words, sentences and paragraphs: what is counted, and that counting is linear."""

# ruff: noqa: E501 (tables)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.verifiers.segmentation import count_words, graphemes, paragraphs, prepare, sentences, tokens, words
from tests.rewards.timing import assert_linear


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0), ("...", 0), ("one", 1), ("one two", 2), ("don't", 1), ("don’t", 1), ("well-known", 2), ("3.14", 2),
        ("a,b", 2), ("naïve", 1), ("हिन्दी में", 2), ("我喜欢猫", 4), ("ねこです", 4), ("고양이를 좋아해", 2), ("I like 猫", 3),
        ("w" * 50, 1), ("w" * 60, 10), ("- - -", 0), ("สวัสดีครับ", 2),
    ],
)  # fmt: skip
def test_words_are_counted(text, number):
    assert count_words(text) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("No end", ["No end"]),
        ("Dr. Li met Mrs. Fox. They spoke.", ["Dr. Li met Mrs. Fox.", "They spoke."]),
        ("It is 3.5 m long. Fine.", ["It is 3.5 m long.", "Fine."]),
        ("At 3 p.m. it rained. At 4 p.m. It did not.", ["At 3 p.m. it rained.", "At 4 p.m.", "It did not."]),
        ("Well... perhaps. Yes... No.", ["Well... perhaps.", "Yes...", "No."]),
        ('"Really?" she asked. "Yes."', ['"Really?" she asked.', '"Yes."']),
        ("J. S. Bach wrote it. I did not.", ["J. S. Bach wrote it.", "I did not."]),
        ("It was I. You know.", ["It was I.", "You know."]),
        ("1. First item.\n2. Second item.", ["1. First item.", "2. Second item."]),
        ("A title\n\nA sentence.", ["A title", "A sentence."]),
        ("好。不好。", ["好。", "不好。"]),
        ("all lower. still two.", ["all lower.", "still two."]),
        ("e.g. this one. See fig. 3 there.", ["e.g. this one.", "See fig. 3 there."]),
        ("No. I will not.", ["No.", "I will not."]),
        ("Hm!!! What?! Oh.", ["Hm!!!", "What?!", "Oh."]),
        ("...", []),
        ("", []),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_tokens_keep_what_is_within():
    assert tokens('"Well-known," (e.g.) 3.5 — don\'t!') == ["Well-known", "e.g", "3.5", "don't"]


def test_paragraphs_have_words():
    assert paragraphs("a\n\n---\n\n \n\nb\nc") == ["a", "b\nc"]


def test_graphemes_are_what_is_seen():
    assert len(graphemes("ae\u0301\U0001f1eb\U0001f1f7")) == 3


def test_what_is_hidden_goes():
    assert prepare("a\u200bb\x00c\u034fd\ufe0f\u3164\r\ne\udc80") == "abcd\ne"


@given(st.text())
def test_sentences_hold_all_words_in_order(text):
    text = prepare(text)
    assert [word for sentence in sentences(text) for word in words(sentence)] == words(text)


@given(st.text())
def test_preparing_twice_changes_nothing(text):
    assert prepare(prepare(text)) == prepare(text)


@pytest.mark.parametrize("text", ["!", "a.", ". ", "\n", "\n ", "1. ", "-", "é", "a'", '."', "猫", "กา", "a\u0301"])
@pytest.mark.parametrize("function", [sentences, count_words, tokens, paragraphs, prepare])
def test_time_is_linear(function, text):
    assert_linear(function, lambda length: text * (length // len(text)))
