"""Properties of what takes responses apart: thinking, boxes, cleaning, extraction; for any text, and in linear time."""

import contextlib
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rewards.extraction import EXTRACT, extract_answer
from rewards.response import MAX_SPAN_CHARS, MAX_TAIL_CHARS, BoundExceeded, clean, last_boxed, split_response

PIECES = st.sampled_from(
    ["<think>", "</think>", "\\boxed{", "\\fbox{", "\\boxed ", "{", "}", "\\{", "\\}", "\\", "$", "\n", " ", "7", "-",
     ".", ",", "/", "=", "**", "`", "a", "the answer is ", "Answer: ", "or", "\u200b", "２", "²", "½", "−", "e\u0301"]
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join))
TAGLESS = st.text().filter(lambda text: "think>" not in text and "<" not in text and ">" not in text)
BALANCED = st.recursive(
    st.text(alphabet="ab12 +,.$", max_size=6),
    lambda inner: st.tuples(inner, inner, inner).map(lambda parts: f"{parts[0]}{{{parts[1]}}}{parts[2]}"),
)


@given(TAGLESS, TAGLESS)
def test_thinking_and_answer_are_told_apart(thinking, answer):
    parts = split_response(f"<think>{thinking}</think>{answer}")
    assert (parts.thinking, parts.answer) == (thinking.strip(), answer.strip())


@given(TAGLESS)
def test_a_text_without_tags_is_all_answer(text):
    parts = split_response(text)
    assert (parts.thinking, parts.answer) == ("", text.strip())


@given(TEXTS)
def test_there_is_an_answer_unless_the_thinking_is_open_and_it_holds_no_tag(text):
    answer = split_response(text).answer
    assert (answer is None) == (text.rfind("<think>") > text.rfind("</think>"))
    if answer is not None:
        assert text.strip().endswith(answer)
        assert "<think>" not in answer
        assert "</think>" not in answer


@given(TEXTS, BALANCED, TAGLESS.filter(lambda text: "\\" not in text))
def test_the_last_box_with_balanced_braces_is_read_whole(before, inside, after):
    assert last_boxed(f"{before} \\boxed{{{inside}}} {after}") == inside.strip()


@given(TEXTS, BALANCED)
def test_an_open_last_box_is_no_box(before, inside):
    assert last_boxed(f"{before} \\boxed{{{inside}") is None


@given(TEXTS)
def test_what_a_box_holds_is_balanced_and_in_the_text(text):
    inside = last_boxed(text)
    if inside:
        assert inside in text
        bare = inside.replace("\\{", "").replace("\\}", "")
        assert bare.count("{") == bare.count("}")


@given(st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=127)))
def test_ascii_is_only_stripped(text):
    assert clean(text) == text.strip()


@given(TEXTS)
@example("\u200b 7\u200b ")
@example("٣½²−⁄")
def test_cleaned_text_is_clean(text):
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert cleaned == cleaned.strip()
    assert all(c.isascii() for c in cleaned if c.isdigit())
    assert not {"\u200b", "\u200d", "\u2060", "\ufeff", "\u202e", "\u2212", "\u2044"} & set(cleaned)


@given(TEXTS)
def test_cleaned_text_is_compatibly_the_same_letters(text):
    letters = [c for c in unicodedata.normalize("NFKC", text) if c.isalpha()]
    assert [c for c in clean(text) if c.isalpha()] == letters or not text.isascii()


@pytest.mark.parametrize("extract", EXTRACT)
@given(text=TEXTS)
def test_extraction_takes_any_text(extract, text):
    answer = extract_answer(text, extract)
    assert answer is None or (answer == answer.strip() and 0 < len(answer) <= MAX_SPAN_CHARS)


@given(
    st.integers(-(10**9), 10**9), st.sampled_from(["The answer is {}.", "Answer: {}", "**Answer:** ${}$", "So x = {}"])
)
def test_a_stated_number_is_extracted(number, phrase):
    assert extract_answer(phrase.format(number), "lenient") == str(number)
    assert extract_answer(phrase.format(number), "boxed") is None


@given(TEXTS, st.integers(-999, 999))
def test_a_last_box_goes_before_every_phrase(before, number):
    before = before.replace("<think>", "")
    for extract in EXTRACT:
        assert extract_answer(f"{before} \\boxed{{{number}}} The answer is 1234.", extract) == str(number)


@given(st.integers(0, 999), st.integers(0, 999), st.sampled_from([" or ", " and ", ", or "]))
def test_two_answers_are_not_one(first, second, between):
    answer = extract_answer(f"The answer is {first}{between}{second}.", "lenient")
    assert answer not in (str(first), str(second)) or first == second


@pytest.mark.parametrize(
    "piece",
    ["<think>", "</think>", "\\boxed{", "\\boxed", "{", "}", "$", "the answer is ", "= ", "**", "`", "1,", "\n",
     "\u200b", "²", "½", "\\(", "\\text{", "a", " "],
)  # fmt: skip
def test_time_is_linear(piece):
    def seconds(size):
        text = (piece * size)[:size]
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            split_response(text), clean(text)
            for extract in EXTRACT:
                with contextlib.suppress(BoundExceeded):
                    extract_answer(text, extract)
            best = min(best, time.process_time() - start)
        return best

    small, large = seconds(100_000), seconds(800_000)
    assert large < 30 * small + 0.05


@pytest.mark.parametrize("extract", EXTRACT)
@given(thinking=TAGLESS, answer=TAGLESS)
def test_the_thinking_says_nothing_about_the_answer(extract, thinking, answer):
    assert extract_answer(f"<think>{thinking}</think>{answer}", extract) == extract_answer(answer, extract)


@given(before=TEXTS, answer=TAGLESS)
def test_an_open_thinking_has_no_answer(before, answer):
    assert extract_answer(f"{before}<think>{answer}") is None


@given(filling=st.sampled_from(["x ", "\\boxed{1} ", "is 7. ", "$"]), number=st.integers(0, 999))
def test_what_is_long_before_the_box_does_not_matter(filling, number):
    assert extract_answer(filling * MAX_TAIL_CHARS + f"\\boxed{{{number}}}") == str(number)


MARKS = st.sampled_from(["\\boxed", "\\fbox", "{", "}", "\\{", "\\}", "7", " "])


@given(st.lists(MARKS).map("".join))
def test_a_box_holds_a_part_of_the_text_and_nothing_behind_it_changes_that(text):
    inside = last_boxed(text)
    assert inside is None or inside in text
    if inside is not None and text.endswith("}"):
        assert last_boxed(f"{text} and so on, {7}.") == inside
