"""The prose of a text: what is left without code, maths, addresses and markup; and its sentences. All linear."""

import re

MAX_WORDS_OF_SENTENCE = 24  # longer ones are cut: a text without full stops may change its language, too

_LETTERS = r"[^\W\d_]"
_WORD = re.compile(rf"(?<!\\){_LETTERS}{{3,}}")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SYMBOLS = re.compile(r"[][{}<>=+*/\\|&^%$#@;_~()]")
# Possessive repeats and the ban on the opening mark inside make each character count once.
_INLINE_CODE = re.compile(r"(?<!`)(`{1,2})(?!`)([^`\n]++)\1(?!`)")
_MATHS = (
    re.compile(r"\$\$([^$]++)\$\$"),
    re.compile(r"(?<!\\)\$([^$\n]++)\$"),
    re.compile(r"\\\(((?:[^\\]|\\[^()\[\]])*+)\\\)"),
    re.compile(r"\\\[((?:[^\\]|\\[^()\[\]])*+)\\\]"),
    re.compile(r"\\begin\{[A-Za-z*]{1,20}\}((?:[^\\]|\\(?!begin\b|end\b))*+)\\end\{[A-Za-z*]{1,20}\}"),
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{([^{}]*+)\}")
_ADDRESSES = re.compile(
    r"(?:https?|ftp)://[!-~]++|\bwww\.[!-~]++|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
)
_LINK = re.compile(r"\]\((?:[!-'*-~]++)\)")
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,200}>")
_COMMAND = re.compile(r"\\[A-Za-z]+\*?")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|[。！？｡।؟۔]+[”’」』）]*|\n+")
_SPACE = re.compile(r"\s+")


def prose(text: str) -> str:
    """The text without code, maths, addresses, tags and commands.

    A block of code or a formula that reads as prose is prose: a fence hides no language.
    """
    text = _without_fences(text)
    text = _INLINE_CODE.sub(lambda found: _kept(found[2]), text)
    for pattern in _MATHS:
        text = pattern.sub(lambda found: _kept(found[1]), text)
    text = _BOX.sub(lambda found: _kept(found[1]), text)
    for pattern in (_LINK, _ADDRESSES, _TAG, _COMMAND):
        text = pattern.sub(" ", text)
    return text.replace("_", " ")


def reads_as_prose(span: str) -> bool:
    """Whether a span is running text rather than code or a formula: several words, and few symbols between them."""
    words, unspaced = len(_WORD.findall(span)), len(_UNSPACED.findall(span))
    symbols = len(_SYMBOLS.findall(span))
    return words + unspaced / 2 >= 5 and symbols * 3 <= words + unspaced / 2


def sentences(text: str) -> list[str]:
    """Sentences, lines and, of what is longer than MAX_WORDS_OF_SENTENCE, pieces of half that length."""
    pieces = []
    for sentence in _SENTENCE_END.split(text):
        words = _SPACE.split(sentence.strip())
        step = len(words) if len(words) <= MAX_WORDS_OF_SENTENCE else MAX_WORDS_OF_SENTENCE // 2
        pieces += [" ".join(words[start : start + step]) for start in range(0, len(words), step)]
    return [piece for piece in pieces if piece]


def _kept(span: str) -> str:
    return f" {span} " if reads_as_prose(span) else " "


def _without_fences(text: str) -> str:
    """Fenced blocks are left out, closed or not, unless they read as prose."""
    lines: list[str] = []
    block: list[str] = []
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if not fence and mark:
            fence, block = mark[1], []
        elif fence and mark and mark[1].startswith(fence) and not line.strip(" `~"):
            lines.append(_kept("\n".join(block)))
            fence = ""
        else:
            (block if fence else lines).append(line)
    if fence:
        lines.append(_kept("\n".join(block)))
    return "\n".join(lines)
