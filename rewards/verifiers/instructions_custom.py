"""IFBench's instructions (Pyatkin et al. 2025, 2507.02833) that are whole requests: checks of prepared texts."""

import csv
import datetime
import itertools
import re
import string
import unicodedata

from rewards.verifiers.instructions import Instruction
from rewards.verifiers.instructions_lexicon import CAPITALS, COUNTRIES
from rewards.verifiers.segmentation import EDGES, has_word, lines, sentences, tokens, words

MULTIPLES = [str(number) for number in range(14, 51, 7)]
NUM_QUESTIONS, NUM_OPTIONS = 4, 5
CITY_COLUMNS = ["ID", "Country", "City", "Year", "Count"]
PRODUCT_COLUMNS = ["ProductID", "Category", "Brand", "Price", "Stock"]
STUDENT_COLUMNS = ["StudentID", "Subject", "Grade", "Semester", "Score"]
FIRST_BATTLE, LAST_BATTLE = datetime.date(1793, 9, 18), datetime.date(1815, 6, 18)  # Toulon, Waterloo
MIN_BATTLES = 10  # of some sixty
MIN_COUNTRIES = 52  # of 54: as many as the published check asks for
MIN_SENTENCE_WORDS = 4

_CAPITAL_ALIASES = {"Kiev": "Kyiv", "Luxembourg City": "Luxembourg", "Berne": "Bern"}
_COUNTRY_OF = {name: row.split("/")[0] for row in COUNTRIES for name in row.split("/")}

_QUESTION = re.compile(r"^[ \t*#]{0,6}Question\b[ \t]*\d*[ \t]*[:.)]?[ \t*]*", re.MULTILINE)
_OPTION = re.compile(r"[ \t*-]{0,6}[A-Ea-e][.)][ \t]*\S")
_NUMBERING = re.compile(r"^\s*(?:\d{1,3}[.)]|[*+•-])\s+")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def prints_multiples(text: str) -> bool:
    """The multiples of 7 from 10 to 50, in order, and no other number."""
    return re.findall(r"\d+", text) == MULTIPLES


def has_questions(text: str) -> bool:
    """Four questions and nothing before them, each longer than the one before, each with five options."""
    found = list(_QUESTION.finditer(text))
    if len(found) != NUM_QUESTIONS or found[0].start() != 0:
        return False
    ends = [*(match.start() for match in found[1:]), len(text)]
    lengths = []
    for match, end in zip(found, ends, strict=True):
        body = lines(text[match.end() : end])
        options = [position for position, line in enumerate(body) if _OPTION.match(line)]
        if len(options) != NUM_OPTIONS or options != list(range(options[0], len(body))):
            return False
        lengths.append(len(" ".join(line.strip() for line in body[: options[0]])))
    return lengths[0] > 0 and all(first < second for first, second in itertools.pairwise(lengths))


def lists_african_countries(text: str) -> bool:
    """Each line a country of Africa, none twice, from last to first."""
    names = [_ascii(_NUMBERING.sub("", line)).strip(EDGES + " ").lower() for line in lines(text)]
    countries = {_COUNTRY_OF.get(name) for name in names}
    complete = None not in countries and len(countries) == len(names) >= MIN_COUNTRIES
    return complete and names == sorted(names, reverse=True)


def is_word_reversed(text: str) -> bool:
    found = [word.lower() for word in words(text)]
    pairs = list(itertools.pairwise(found))
    return len(found) >= MIN_SENTENCE_WORDS and ("eagle", "bald") in pairs and ("bald", "eagle") not in pairs


def is_character_reversed(text: str) -> bool:
    lowered = text.lower()
    return "elgae dlab" in lowered and "bald eagle" not in lowered and len(words(text)) >= MIN_SENTENCE_WORDS


def has_alphabetic_sentences(text: str) -> bool:
    initials = [tokens(sentence)[0][0].lower() for sentence in sentences(text)]
    return initials == list(string.ascii_lowercase)


def sorts_capitals(text: str) -> bool:
    names = [_ascii(name).strip(". \n") for name in text.split(",")]
    named = [_CAPITAL_ALIASES.get(name, name) for name in names]
    return named in (CAPITALS, [name for name in CAPITALS if name != "Kyiv"])


def is_city_csv(text: str) -> bool:
    rows = _read_rows(text, ",")
    return len(rows) == 8 and rows[0] == CITY_COLUMNS and all(len(row) == 5 and all(row) for row in rows)


def is_product_csv(text: str) -> bool:
    """With a field in double quotes that has a character other than letters, digits and spaces."""
    rows = _read_rows(text, ",")
    if len(rows) != 15 or rows[0] != PRODUCT_COLUMNS or not all(len(row) == 5 for row in rows):
        return False
    special = {field for row in rows[1:] for field in row if any(not c.isalnum() and not c.isspace() for c in field)}
    return any('"' + field.replace('"', '""') + '"' in text for field in special)


def is_student_csv(text: str) -> bool:
    """Each field in double quotes, those of the header too."""
    rows = [line.strip("\r ").split("\t") for line in lines(text)]
    plain = [[field.strip()[1:-1] for field in row] for row in rows]
    quoted = all(re.fullmatch(r'"[^"]+"', field.strip()) for row in rows for field in row)
    return len(rows) == 4 and plain[0] == STUDENT_COLUMNS and quoted and all(len(row) == 5 for row in rows)


def lists_dates(text: str) -> bool:
    """Dates of the calendar within Napoleon's wars, ten or more, none twice, and nothing else."""
    found = [date.strip() for date in text.rstrip(".").split(",")]
    if not all(_ISO_DATE.fullmatch(date) for date in found) or not len(set(found)) == len(found) >= MIN_BATTLES:
        return False
    try:
        return all(FIRST_BATTLE <= datetime.date.fromisoformat(date) <= LAST_BATTLE for date in found)
    except ValueError:
        return False


def _read_rows(text: str, delimiter: str) -> list[list[str]]:
    try:
        rows = csv.reader([line for line in text.split("\n") if has_word(line)], delimiter=delimiter, strict=True)
        return [[field.strip() for field in row] for row in rows]
    except csv.Error:
        return []


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text.replace("’", "'")).encode("ascii", "ignore").decode()


CUSTOM = {
    "custom:multiples": Instruction(prints_multiples),
    "custom:mcq_count_length": Instruction(has_questions),
    "custom:reverse_newline": Instruction(lists_african_countries),
    "custom:word_reverse": Instruction(is_word_reversed),
    "custom:character_reverse": Instruction(is_character_reversed),
    "custom:sentence_alphabet": Instruction(has_alphabetic_sentences),
    "custom:european_capitals_sort": Instruction(sorts_capitals),
    "custom:csv_city": Instruction(is_city_csv),
    "custom:csv_special_character": Instruction(is_product_csv),
    "custom:csv_quotes": Instruction(is_student_csv),
    "custom:date_format_list": Instruction(lists_dates),
}
