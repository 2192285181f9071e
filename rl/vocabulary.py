"""Whether two models mean the same by a token id: what a student must share with its teacher."""

from typing import Any


def common_vocabulary_size(student: str, teacher: str) -> int:
    """The number of ids that both tokenizers know; what an embedding has beyond is padding.

    Raises ValueError naming the first differences where a token has another id, or is missing on one side.
    """
    from transformers import AutoConfig, AutoTokenizer

    vocabularies = [AutoTokenizer.from_pretrained(model).get_vocab() for model in (student, teacher)]
    check_same_tokens(*vocabularies)
    size = max(vocabularies[0].values()) + 1
    for name, model in (("model", student), ("teacher.model", teacher)):
        config: Any = AutoConfig.from_pretrained(model)
        if config.vocab_size < size:
            raise ValueError(f"{name}: {model} has {config.vocab_size} embeddings for the {size} ids of its tokenizer")
    return size


def check_same_tokens(student: dict[str, int], teacher: dict[str, int]) -> None:
    """ValueError unless both map the same tokens to the same ids."""
    different = sorted(
        (token for token in student.keys() | teacher.keys() if student.get(token) != teacher.get(token)),
        key=lambda token: (student.get(token, teacher.get(token, 0)), token),
    )
    if different:
        shown = ", ".join(f"{token!r} ({student.get(token)}, {teacher.get(token)})" for token in different[:3])
        raise ValueError(
            f"teacher.model: its tokenizer differs from the student's in {len(different)} tokens, first {shown} "
            "(ids of the student and the teacher); take a teacher of its family, or distil off-policy with sft"
        )
