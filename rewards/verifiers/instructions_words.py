"""IFBench's instructions (Pyatkin et al. 2025, 2507.02833) on counts, ratios and words: checks of prepared texts."""

import itertools
import re
import unicodedata
from collections import Counter

from rewards.verifiers.instructions import Instruction, read_count, read_percentage, read_phrase, read_positive
from rewards.verifiers.instructions_lexicon import PERSON_NAMES, PRONOUNS, STOP_WORDS
from rewards.verifiers.keywords import count_keyword, has_keyword
from rewards.verifiers.segmentation import count_words, has_word, lines, sentences, tokens

CONJUNCTIONS = frozenset(("and", "but", "for", "nor", "or", "so", "yet"))
MIN_PALINDROMES, MIN_PALINDROME_CHARS = 10, 5
KEYWORD_COUNTS = 1, 2, 3, 5, 7

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_INTERROBANG = re.compile(r"\?!|!\?|‽")
_CLUSTER = re.compile("[b-df-hj-np-tv-z]{2}")
_JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_NGRAM_TOKEN = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")


def has_word_count_in_range(text: str, min_words: int, max_words: int) -> bool:
    return min_words <= count_words(text) <= max_words


def has_unique_words(text: str, N: int) -> bool:
    return len(set(_folded_tokens(text))) >= N


def has_few_stop_words(text: str, percentage: int) -> bool:
    found = [token.replace("’", "'") for token in _folded_tokens(text)]
    return 100 * sum(token in STOP_WORDS for token in found) <= percentage * len(found)


def has_sentence_type_ratio(text: str) -> bool:
    """Two declarative sentences a question; none of either is no ratio."""
    marks = _sentence_marks(text)
    return marks["."] == 2 * marks["?"] > 0


def has_sentence_balance(text: str) -> bool:
    marks = _sentence_marks(text)
    return marks["."] == marks["?"] == marks["!"] > 0


def _sentence_marks(text: str) -> Counter[str]:
    return Counter(sentence.rstrip("\"'”’»)]*_")[-1:] for sentence in sentences(text))


def has_conjunctions(text: str, small_n: int) -> bool:
    """So many different ones: `And` and `and` are the same."""
    return len(CONJUNCTIONS.intersection(_folded_tokens(text))) >= small_n


def has_person_names(text: str, N: int) -> bool:
    found = {re.split("['’]s$", token)[0] for token in tokens(text)}
    return len(PERSON_NAMES & found) >= N


def has_trigram_overlap(text: str, reference_text: str, percentage: int) -> bool:
    """The share of the text's different trigrams that the reference has, to two percent points."""
    own, others = _trigrams(text), _trigrams(reference_text)
    return bool(own) and abs(100 * len(own & others) / len(own) - percentage) <= 2


def _trigrams(text: str) -> set[tuple[str, ...]]:
    found = _NGRAM_TOKEN.findall(text)
    return set(zip(found, found[1:], found[2:], strict=False))


def has_numbers(text: str, N: int) -> bool:
    """`1,000.5` is one number, `10-20` are two."""
    return len(_NUMBER.findall(text)) == N


def has_all_punctuation(text: str) -> bool:
    """An interrobang, and each mark once more beside it."""
    rest, num_interrobangs = _INTERROBANG.subn(" ", text, count=1)
    return num_interrobangs > 0 and set(".,!?;:") <= set(rest)


def has_japanese_words(text: str, N: int) -> bool:
    """Every N-th of the words between spaces; a text of fewer words has none."""
    wanted = tokens(text)[N - 1 :: N]
    return bool(wanted) and all(_JAPANESE.search(word) for word in wanted)


def has_pronouns(text: str, N: int) -> bool:
    """So many, and no text of nothing else."""
    found = _folded_tokens(text.replace("/", " "))
    num_pronouns = sum(re.split("['’]", token)[0] in PRONOUNS for token in found)
    return num_pronouns >= N and 2 * num_pronouns <= len(found)


def has_keyword_counts(text: str, **keywords: str) -> bool:
    """`keyword1` once, and so on, as whole words."""
    wanted = zip((keywords[f"keyword{number}"] for number in range(1, 6)), KEYWORD_COUNTS, strict=True)
    return all(count_keyword(keyword, text) == number for keyword, number in wanted)


def follows_alphabet(text: str) -> bool:
    """Each word begins with the next letter, `a` after `z`."""
    initials = [_unaccented(token)[0].lower() for token in tokens(text)]
    if len(initials) < 2 or not all("a" <= initial <= "z" for initial in initials):
        return False
    return all((ord(second) - ord(first)) % 26 == 1 for first, second in itertools.pairwise(initials))


def has_three_vowels(text: str) -> bool:
    """One paragraph with at most three of the five vowels, and at least one."""
    return len(lines(text)) == 1 and 1 <= len(set(_unaccented(text).lower()) & set("aeiou")) <= 3


def has_consonant_clusters(text: str) -> bool:
    return all(_CLUSTER.search(_unaccented(token).lower()) for token in tokens(text))


def has_palindromes(text: str) -> bool:
    """Ten different words; a letter repeated is no word."""
    found = {token for token in _folded_tokens(text) if len(token) >= MIN_PALINDROME_CHARS and token.isalpha()}
    return sum(token == token[::-1] and len(set(token)) > 1 for token in found) >= MIN_PALINDROMES


def has_prime_lengths(text: str) -> bool:
    return all(_is_prime(sum(map(str.isalnum, token))) for token in tokens(text))


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def has_few_repeats(text: str, small_n: int) -> bool:
    return max(Counter(_folded_tokens(text)).values()) <= small_n


def has_last_words_first(text: str) -> bool:
    found = [_folded_tokens(sentence) for sentence in sentences(text)]
    return len(found) > 1 and all(first[-1] == second[0] for first, second in itertools.pairwise(found))


def has_paragraphs_in_circles(text: str) -> bool:
    """Each line with words ends with the word that it begins with, and has another one between."""
    found = [_folded_tokens(line) for line in lines(text) if has_word(line)]
    return all(len(line) > 1 and line[0] == line[-1] for line in found)


def has_no_consecutive_initials(text: str) -> bool:
    initials = [token[0] for token in _folded_tokens(text)]
    return len(initials) > 1 and all(first != second for first, second in itertools.pairwise(initials))


def has_keyword_at(text: str, keyword: str, n: int, m: int) -> bool:
    found = sentences(text)
    return len(found) >= n and tokens(found[n - 1])[m - 1 : m] != [] and _is(tokens(found[n - 1])[m - 1], keyword)


def has_keyword_at_both_ends(text: str, keyword: str) -> bool:
    """As the second word and as the last but one, which are two words."""
    found = tokens(text)
    return len(found) >= 4 and _is(found[1], keyword) and _is(found[-2], keyword)


def has_longer_alliterations(text: str) -> bool:
    """Each sentence has a longer run of words with one initial than the sentence before it."""
    runs = [_longest_run([token[0] for token in _folded_tokens(sentence)]) for sentence in sentences(text)]
    return len(runs) > 1 and all(first < second for first, second in itertools.pairwise(runs))


def _longest_run(initials: list[str]) -> int:
    longest = run = 0
    for position, initial in enumerate(initials):
        run = run + 1 if position and initial == initials[position - 1] else 1
        longest = max(longest, run)
    return longest


def has_keyword_in_sentence(text: str, word: str, N: int) -> bool:
    found = sentences(text)
    return len(found) >= N and has_keyword(word, found[N - 1])


def has_longer_sentences(text: str, small_n: int) -> bool:
    lengths = [len(tokens(sentence)) for sentence in sentences(text)]
    return len(lengths) > 1 and all(b - a == small_n for a, b in itertools.pairwise(lengths))


def has_equal_sentences(text: str) -> bool:
    """Three sentences of one length in characters, and no word twice."""
    found, all_words = sentences(text), _folded_tokens(text)
    return len(found) == 3 and len(set(map(len, found))) == 1 and len(all_words) == len(set(all_words))


def _folded_tokens(text: str) -> list[str]:
    return [token.casefold() for token in tokens(text)]


def _unaccented(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def _is(token: str, keyword: str) -> bool:
    return token.casefold() == keyword.casefold()


WORDS = {
    "count:word_count_range": Instruction(
        has_word_count_in_range,
        {"min_words": read_positive, "max_words": read_positive},
        sane=lambda min_words, max_words: min_words <= max_words,
    ),
    "count:unique_word_count": Instruction(has_unique_words, {"N": read_positive}),
    "count:conjunctions": Instruction(
        has_conjunctions, {"small_n": read_positive}, sane=lambda small_n: small_n <= len(CONJUNCTIONS)
    ),
    "count:person_names": Instruction(has_person_names, {"N": read_positive}, sane=lambda N: len(PERSON_NAMES) >= N),
    "count:numbers": Instruction(has_numbers, {"N": read_count}),
    "count:punctuation": Instruction(has_all_punctuation),
    "count:words_japanese": Instruction(has_japanese_words, {"N": read_positive}),
    "count:pronouns": Instruction(has_pronouns, {"N": read_positive}),
    "count:keywords_multiple": Instruction(
        has_keyword_counts, {f"keyword{number}": read_phrase for number in range(1, 6)}
    ),
    "ratio:stop_words": Instruction(
        has_few_stop_words, {"percentage": read_percentage}, sane=lambda percentage: percentage < 100
    ),
    "ratio:sentence_type": Instruction(has_sentence_type_ratio),
    "ratio:sentence_balance": Instruction(has_sentence_balance),
    "ratio:overlap": Instruction(has_trigram_overlap, {"reference_text": read_phrase, "percentage": read_percentage}),
    "ratio:sentence_words": Instruction(has_equal_sentences),
    "words:alphabet": Instruction(follows_alphabet),
    "words:vowel": Instruction(has_three_vowels),
    "words:consonants": Instruction(has_consonant_clusters),
    "words:palindrome": Instruction(has_palindromes),
    "words:prime_lengths": Instruction(has_prime_lengths),
    "words:repeats": Instruction(has_few_repeats, {"small_n": read_positive}),
    "words:last_first": Instruction(has_last_words_first),
    "words:paragraph_last_first": Instruction(has_paragraphs_in_circles),
    "words:no_consecutive": Instruction(has_no_consecutive_initials),
    "words:keywords_specific_position": Instruction(
        has_keyword_at, {"keyword": read_phrase, "n": read_positive, "m": read_positive}
    ),
    "words:words_position": Instruction(has_keyword_at_both_ends, {"keyword": read_phrase}),
    "sentence:alliteration_increment": Instruction(has_longer_alliterations),
    "sentence:keyword": Instruction(has_keyword_in_sentence, {"word": read_phrase, "N": read_positive}),
    "sentence:increment": Instruction(has_longer_sentences, {"small_n": read_positive}),
}
