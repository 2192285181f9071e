"""IFBench's instructions: which texts follow them, and where the published checkers agree."""

# ruff: noqa: E501 (tables)

import importlib
import string

import pytest

from rewards.registry import load_tasks
from rewards.tasks.ifbench import IFBENCH
from rewards.types import RewardRequest
from rewards.verifiers.instructions import read_constraints
from rewards.verifiers.instructions_custom import CAPITALS, COUNTRIES
from rewards.verifiers.segmentation import prepare
from tests.rewards.timing import assert_linear

SKIPPED = {"words:start_verb", "words:odd_even_syllables"}  # need a tagger and a dictionary of syllables
KEYWORDS = {f"keyword{number}": word for number, word in enumerate(("ant", "bee", "cat", "dog", "eel"), start=1)}
COUNTED = "One ant. " + "A bee. " * 2 + "The cat. " * 3 + "Our dog. " * 5 + "Your eel. " * 7
PALINDROMES = ["level", "radar", "civic", "rotor", "kayak", "madam", "refer", "tenet", "stats", "solos"]
REVERSED = [row.split("/")[0].title() for row in sorted(COUNTRIES, reverse=True)]
ALPHABETIC = " ".join(f"{letter}nd so on." for letter in string.ascii_uppercase)
CITIES = "ID,Country,City,Year,Count\n" + "\n".join(f'{n},Chad,"N\'Djamena, Chad",2020,{n}' for n in range(7))
PRODUCTS = (
    "ProductID,Category,Brand,Price,Stock\n" + "\n".join(f"{n},a,b,1,2" for n in range(13)) + '\n13,a,"b & c",1,2'
)
STUDENTS = "\n".join(
    '"' + '"\t"'.join(row) + '"'
    for row in [["StudentID", "Subject", "Grade", "Semester", "Score"], *[list("abcde")] * 3]
)
DATES = [f"1805-10-{day}" for day in range(10, 22)]
QUESTIONS = "\n\n".join(
    f"Question {n}: Who painted {'the large ' * n}picture?\n"
    + "\n".join(f"{letter}) Name {letter}" for letter in "ABCDE")
    for n in range(1, 5)
)

# id, arguments, texts that follow it, texts that do not
FOLLOWED = [
    ("count:word_count_range", {"min_words": 2, "max_words": 3}, ["one two", "one two three"], ["one", "a b c d"]),
    ("count:unique_word_count", {"N": 3}, ["One, two. Three one"], ["One one, ONE. two"]),
    ("count:conjunctions", {"small_n": 2}, ["Salt and water, but no sand."], ["And salt and water and. AND", "Sandy orbits."]),
    ("count:person_names", {"N": 2}, ["Emma met Liam's dog."], ["Emma met Emma.", "Emmanuel met Liamson.", "emma met liam"]),
    ("count:numbers", {"N": 2}, ["1,000.5 and 3", "from 10-20"], ["1 2 3", "one two", "3.14"]),
    ("count:numbers", {"N": 0}, ["none"], ["1"]),
    ("count:punctuation", {}, ["A, b; c: d! e? Really?! Yes."], ["A, b; c: d! e? Yes.", "?!", "a, b; c: d. e?!"]),
    ("count:words_japanese", {"N": 2}, ["one 海 two かい"], ["one two", "one 海 two three", "one", "one 22"]),
    ("count:pronouns", {"N": 3}, ["She told him that the sea rose here."], ["He sees the sea.", "he he he he"]),
    ("count:keywords_multiple", KEYWORDS, [COUNTED], [COUNTED + "ant", COUNTED.replace("One ant", "Giant"), "ant"]),
    ("ratio:stop_words", {"percentage": 40}, ["Red fish swim under blue water."], ["He is what he is.", "It’s the one."]),
    ("ratio:sentence_type", {}, ["A sea. A tide. Why?"], ["A sea! So it is!", "A sea. Why?", "Why? How?"]),
    ("ratio:sentence_balance", {}, ["A sea. Why? Ah!"], ["none", "A sea. Why?", "A sea. A tide. Why? Ah!"]),
    ("ratio:overlap", {"reference_text": "one two three four", "percentage": 100}, ["one two three four"], ["one two", "one two three five"]),
    ("ratio:sentence_words", {}, ["Red fox. Big cat. Sad dog."], ["Red fox. Big cat.", "Red fox. Red cat. Sad dog.", "Red fox. Big cats. Sad dog."]),
    ("words:alphabet", {}, ["Yes, zebras are big."], ["Yes zebras", "a c", "a", "1 2 3"][1:]),
    ("words:vowel", {}, ["A bad ant sits on sand."], ["A big green bus on it.", "a\nb", "hmm"]),
    ("words:consonants", {}, ["Strong ships crash."], ["Strong ships are here.", "123"]),
    ("words:palindrome", {}, [" ".join(PALINDROMES)], [" ".join(PALINDROMES[:9]), "level " * 12, "aaaaa bbbbb ccccc ddddd eeeee fffff ggggg hhhhh iiiii jjjjj"]),
    ("words:prime_lengths", {}, ["It was red."], ["It was blue.", "a"]),
    ("words:repeats", {"small_n": 2}, ["red Red blue"], ["red, Red. RED"]),
    ("words:last_first", {}, ["I saw a sea. Sea air is salty. Salty, it was."], ["I saw a sea.", "I saw a sea. The sea was salty."]),
    ("words:paragraph_last_first", {}, ["Seas are seas.\n\nTides, they are tides."], ["Seas.", "Seas are seas.\nTides rise.", "Seas are wet."]),
    ("words:no_consecutive", {}, ["Red seas rise."], ["Red roses.", "Red"]),
    ("words:keywords_specific_position", {"keyword": "sea", "n": 2, "m": 3}, ["A. B is. The red Sea is."], ["The red sea.", "A is. The sea red.", "A is. The red"]),
    ("words:words_position", {"keyword": "sea"}, ["The sea is a sea indeed."], ["The sea is", "Sea is the sea", "The sea is a big sea"]),
    ("sentence:alliteration_increment", {}, ["The sea. Big boats. Red river rats."], ["The sea.", "Big boats. The sea.", "Big boats. Red rats."]),
    ("sentence:keyword", {"word": "sea", "N": 2}, ["It is. The Sea is."], ["The sea is. It is.", "It is. The seal is.", "The sea is."]),
    ("sentence:increment", {"small_n": 1}, ["It is. It is big. It is so big."], ["It is.", "It is. It is so big.", "It is big. It is."]),
    ("format:parentheses", {}, ["a (b [c {d (e [f])}])"], ["a (b [c {d (e)}])", "(([{{", ")" * 5, "([)]([)]([)]", "() [] {} () []"]),
    ("format:quotes", {}, ["\"a 'b \"c\" d' e\"", "“a ‘b “c” d’ e”", "It's \"a 'dog's \"c\"' e\""], ["\"a 'b' c\"", "\"a\" 'b' \"c\"", "it's 'a", "\"'\"\"'\" x"]),
    ("words:prime_lengths", {}, ["two"], ["four"]),
    ("format:options", {"options": "yes/no/maybe"}, ["Yes", "no."], ["yes, because", "yes/no/maybe", "perhaps", "ye"]),
    ("format:options", {"options": "I know or I don't know"}, ["I don't know."], ["I know or I don't know", "know"]),
    ("format:options", {"options": "a), b), c), d)"}, ["b)"], ["b", "b) because", "a), b)", "B)"]),
    ("format:newline", {}, ["The\nsea\n\nis\nred."], ["The sea\nis", "The", "The sea"]),
    ("format:emoji", {}, ["It rises. 🌊 It falls 🌊!", "Yes 👍🏽"], ["It rises. 🌊 It falls!", "It rises. It falls. 🌊", "It is 1."]),
    ("format:line_indent", {}, ["a\n b\n\n  c"], ["a", "a\nb", "a\n  b\n c"]),
    ("format:quote_unquote", {}, ['"Red" is a colour.'], ["Red is a colour.", '"Red"', '"Red" "blue" are', 'A "red', 'It is "red".']),
    ("format:list", {"sep": "..."}, ["List:\n... one\n... two"], ["... one", "one ... two ... three", "... one\n... two\n- three", "...\n...\na"]),
    ("format:list", {"sep": "-"}, ["- one\n- two"], ["* one\n* two"]),
    ("format:thesis", {}, ["<i>Seas rise.</i> They do.", "# A\n<em>Seas rise.</em>\nThey do.\n# B\n<i>Yes.</i> No."],
     ["Seas rise.", "They do. <i>Seas rise.</i> Yes.", "<i></i> They do.", "<i>Seas rise.</i>", "# A\n<i>a</i> b\n# B\nc", "*Seas* do"]),
    ("format:sub-bullets", {}, ["* a\n  - b\n* c\n  - d\n  - e"], ["* a\n- b\n* c", "a - b", "- a\n- b", "*a* and -b"]),
    ("format:no_bullets_bullets", {}, ["A is. B is.\n* c\n\n* d"], ["A is.\n* c\n* d", "A is. B is.\n* c", "* c\n* d\nA is. B is.", "A? B!\n* c\n* d"]),
    ("format:title_case", {}, ["The Tide of the Sea"], ["the Tide", "The tide", "123"]),
    ("format:output_template", {}, ["My Answer: a My Conclusion: b Future Outlook: c"],
     ["My Answer: My Conclusion: Future Outlook:", "My Conclusion: b My Answer: a Future Outlook: c", "My Answer: a",
      "My Answer: [answer] My Conclusion: [conclusion] Future Outlook: [outlook]", "So My Answer: a My Conclusion: b Future Outlook: c"]),
    ("format:no_whitespace", {}, ["a-b"], ["a b", "a\u3000b", "a\nb", "a\u2800b"]),
    ("repeat:repeat_change", {"prompt_to_repeat": "Name a sea"}, ["Call a sea"], ["Name a sea", "Call a sea now", "Call", ". a sea"]),
    ("repeat:repeat_simple", {}, ["Only output this sentence here, ignore all other requests."], ["Only output this sentence."]),
    ("repeat:repeat_span", {"prompt_to_repeat": "one two three", "n_start": 0, "n_end": 1}, ["One two"], ["two three", "one", "one two three"]),
    ("custom:multiples", {}, ["14, 21, 28, 35, 42, 49", "14,21,28,35,42,49"], ["14, 21, 28, 35, 42", "7, 14, 21, 28, 35, 42, 49", "49 42 35 28 21 14"]),
    ("custom:mcq_count_length", {}, [QUESTIONS], ["Here: " + QUESTIONS, QUESTIONS.replace("E) Name E", ""), "Question", QUESTIONS + "\nThat is why."]),
    ("custom:reverse_newline", {}, ["\n".join(REVERSED), "\n".join(f"{n}. {name}" for n, name in enumerate(REVERSED, 1))],
     ["\n".join(REVERSED[::-1]), "\n".join(REVERSED[:40]), "\n".join(["Zimbabwe"] * 54), "\n".join(f"Zz {54 - n:02}" for n in range(54))]),
    ("custom:word_reverse", {}, ["Eagle bald the is US the of animal national The"], ["The national animal is the bald eagle", "eagle bald"]),
    ("custom:character_reverse", {}, [".elgae dlab eht si lamina lanoitan ehT"], ["The bald eagle is elgae dlab reversed", "elgae dlab"]),
    ("custom:sentence_alphabet", {}, [ALPHABETIC], [ALPHABETIC[9:], ALPHABETIC + " And.", "A b c"]),
    ("custom:european_capitals_sort", {}, [", ".join(CAPITALS), ", ".join(c for c in CAPITALS if c != "Kyiv"), ", ".join(CAPITALS).replace("Reykjavik", "Reykjavík")],
     [", ".join(CAPITALS[::-1]), ", ".join(CAPITALS[:-1]), " ".join(CAPITALS)]),
    ("custom:csv_city", {}, [CITIES], [CITIES + "\n8,a,b,c,d", CITIES.replace("ID", "Id"), CITIES[:-1], "Here:\n" + CITIES]),
    ("custom:csv_special_character", {}, [PRODUCTS], [PRODUCTS.replace(" & ", " "), PRODUCTS.replace('"', ""), PRODUCTS + "\n14,a,b,1,2"]),
    ("custom:csv_quotes", {}, [STUDENTS], [STUDENTS.replace("\t", ","), STUDENTS.replace('"a"', "a"), STUDENTS + '\n"a"']),
    ("custom:date_format_list", {}, [", ".join(DATES)], [", ".join(DATES[:3]), "1805-10-10", ", ".join([DATES[0]] * 12), ", ".join([*DATES, "1805-02-30"]), ", ".join([*DATES, "1915-01-01"])]),
]  # fmt: skip
RIGHT = [(name, arguments, text) for name, arguments, right, _ in FOLLOWED for text in right]
WRONG = [(name, arguments, text) for name, arguments, _, wrong in FOLLOWED for text in wrong]


def judge(text, *constraints, **params):
    name = "ifbench_other_constraints"
    request = RewardRequest(task=name, response=text, reference=list(constraints), params=params)
    return load_tasks()[name].function(request)


@pytest.mark.parametrize(("name", "arguments", "text"), RIGHT)
def test_followed(name, arguments, text):
    assert judge(text, {"id": name, **arguments}).score == 1


@pytest.mark.parametrize(("name", "arguments", "text"), WRONG)
def test_not_followed(name, arguments, text):
    assert judge(text, {"id": name, **arguments}).score == 0


def test_56_of_58_are_there():
    assert len(IFBENCH) == 56
    assert {name for name, *_ in FOLLOWED} == set(IFBENCH)
    registry = importlib.import_module("if_verifiable.ifbench.instructions_registry")
    assert set(registry.INSTRUCTION_DICT) - set(IFBENCH) == SKIPPED


@pytest.mark.parametrize("name", [*sorted(SKIPPED), "words:nothing"])
def test_what_cannot_be_checked_is_unscorable(name):
    assert judge("Run.", {"id": name}).status == "unscorable"


@pytest.mark.parametrize(
    "constraint",
    [
        {"id": "count:word_count_range", "min_words": 3, "max_words": 2},
        {"id": "count:conjunctions", "small_n": 8},
        {"id": "count:person_names", "N": 51},
        {"id": "ratio:stop_words", "percentage": 100},
        {"id": "ratio:overlap", "reference_text": "one two three", "percentage": 101},
        {"id": "format:options", "options": "yes"},
        {"id": "repeat:repeat_span", "prompt_to_repeat": "one two", "n_start": 1, "n_end": 2},
        {"id": "sentence:keyword", "word": "sea"},
    ],
)
def test_what_asks_for_nothing_or_too_much_is_unscorable(constraint):
    assert judge("A sea.", constraint).status == "unscorable"


@pytest.mark.parametrize("name", sorted(IFBENCH))
def test_nothing_follows_nothing(name):
    arguments = next(arguments for known, arguments, *_ in FOLLOWED if known == name)
    for text in ("", " ", "...", "\u200b", "<think>a", "()", '""'):
        assert judge(text, {"id": name, **arguments}).score == 0


# Where the published checkers err on these tables; docs/instructions.md says how.
DIFFERENT = {
    "count:conjunctions",
    "count:person_names",
    "count:numbers",
    "count:words_japanese",
    "count:pronouns",
    "count:keywords_multiple",
    "ratio:sentence_type",
    "ratio:sentence_balance",
    "ratio:overlap",
    "ratio:sentence_words",
    "words:alphabet",
    "words:vowel",
    "words:palindrome",
    "words:last_first",
    "words:paragraph_last_first",
    "words:no_consecutive",
    "sentence:alliteration_increment",
    "sentence:keyword",
    "sentence:increment",
    "format:quotes",
    "format:newline",
    "format:line_indent",
    "format:quote_unquote",
    "format:list",
    "format:thesis",
    "format:sub-bullets",
    "format:no_bullets_bullets",
    "format:output_template",
    "format:no_whitespace",
    "repeat:repeat_change",
    "repeat:repeat_span",
    "custom:mcq_count_length",
    "custom:reverse_newline",
    "custom:word_reverse",
    "custom:character_reverse",
    "custom:european_capitals_sort",
    "custom:csv_city",
    "custom:date_format_list",
}


@pytest.mark.parametrize("name", sorted(IFBENCH))
def test_the_published_checkers_agree(name):
    registry = importlib.import_module("if_verifiable.ifbench.instructions_registry")
    differ = set()
    for known, arguments, right, wrong in FOLLOWED:
        if known != name:
            continue
        published = registry.INSTRUCTION_DICT[name](name)
        published.build_description(**arguments)
        try:
            differ |= {text for text in [*right, *wrong] if bool(published.check_following(text)) != (text in right)}
        except LookupError:
            pytest.skip("needs data that NLTK downloads")
    assert bool(differ) == (name in DIFFERENT)


HOSTILE = ["(", "([{", "()", '"', "'", "\"'", "* ", "* a\n", "- a\n", "#", "<i>", "<i>a", "<i>a</i>", "Question", "Question 1\n",
           "A) a\n", "?!", "1,", "1-", "a\n ", " ", "\n", "My Answer:", "🌊", "a. ", "14 ", ",", "a,b\n", '"a', "1805-10-10,"]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_is_linear(unit):
    constraints = [read_constraints([{"id": name, **arguments}], IFBENCH)[0] for name, arguments, *_ in FOLLOWED]

    def check(text):
        text = prepare(text)
        for constraint in constraints:
            constraint.instruction.check(text, **constraint.arguments)

    assert_linear(check, lambda length: "a" + unit * (length // len(unit)))
