"""Text that a model will read, and that may try to be read as something else than text."""

import re

# Controls, zero-width and direction marks, annotations and tag characters; joiners stay, which emoji and scripts need.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
# What chat templates of the common model families are made of.
_BARS = re.compile(r"<(?=[|｜])|(?<=[|｜])>")
_TAGS = re.compile(
    r"<(?=/?(?:s|bos|eos|pad|unk|sep|cls|mask|think|thinking|system|user|assistant|tool_call|tool_response|"
    r"(?:start|end)_of_turn|(?:start|end)_of_image|extra_id_\d{1,3}|reserved_\d{1,4}|\[[^\]\n]{1,40}\])\s*/?>)",
    re.IGNORECASE,
)
_INST = re.compile(
    r"\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|CLS|SEP|MASK|UNK|PAD|BOS|EOS|gMASK|sMASK)\])",
    re.IGNORECASE,
)
_SYS = re.compile(r"<<(?=/?SYS>>)", re.IGNORECASE)


def neutralise(text: str) -> str:
    """The text as a reader sees it, with a blank inside all that a chat template would take for its own marks."""
    text = _HIDDEN.sub("", text.encode("utf-8", "replace").decode())
    text = _BARS.sub(lambda found: "< " if found.group() == "<" else " >", text)
    return _SYS.sub("< <", _INST.sub("[ ", _TAGS.sub("< ", text)))
