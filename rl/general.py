"""Prompts of the demo of general RL: one function a task, of `(rng)`, from a few facts that a small model may know."""

import random
from typing import Any

CAPITALS = {
    "Austria": "Vienna", "Egypt": "Cairo", "France": "Paris", "Germany": "Berlin", "Greece": "Athens", "Italy": "Rome",
    "Japan": "Tokyo", "Kenya": "Nairobi", "Norway": "Oslo", "Peru": "Lima", "Portugal": "Lisbon", "Spain": "Madrid",
}  # fmt: skip
NAMES = "Ada", "Emmy", "Grace", "Kurt", "Noam", "Sofia"
THINGS = "a cat", "a river", "a lighthouse", "the moon", "a market", "winter"
WISHES = (
    "What shall I do on a rainy Sunday?",
    "How do I begin to learn a language?",
    "Which gift pleases a friend who cooks?",
    "How can I sleep better?",
    "What makes a good holiday?",
)
LABELS = "ABCD"


def choice(rng: random.Random) -> dict[str, Any]:
    """A question with four options (task `mcq`)."""
    country = rng.choice(list(CAPITALS))
    others = rng.sample([city for city in CAPITALS.values() if city != CAPITALS[country]], len(LABELS) - 1)
    cities = rng.sample([CAPITALS[country], *others], len(LABELS))
    options = " ".join(f"{label}. {city}" for label, city in zip(LABELS, cities, strict=True))
    return {
        "question": f"Which city is the capital of {country}? {options}. Put the letter in \\boxed{{}}.",
        "reference": LABELS[cities.index(CAPITALS[country])],
        "task": "mcq",
        "params": {"options": len(LABELS)},
    }


def record(rng: random.Random) -> dict[str, Any]:
    """Facts that are wanted as JSON (task `json_schema`)."""
    value = {"name": rng.choice(NAMES), "age": rng.randint(18, 80)}
    fields = {"name": {"type": "string"}, "age": {"type": "integer"}}
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {
        "question": f"{value['name']} is {value['age']} years old. Answer with JSON alone, fields name and age.",
        "reference": {"schema": schema, "value": value},
        "task": "json_schema",
    }


def description(rng: random.Random) -> dict[str, Any]:
    """A text of a given length (task `length_control`)."""
    num_words = rng.choice((10, 15, 20))
    question = f"Describe {rng.choice(THINGS)} in {num_words} words."
    return {"question": question, "reference": num_words, "task": "length_control"}


def fact(rng: random.Random) -> dict[str, Any]:
    """A question whose answer may be phrased in many ways (task `reference_judge`)."""
    country = rng.choice(list(CAPITALS))
    question = f"In one sentence: what is the capital of {country}?"
    return {"question": question, "reference": CAPITALS[country], "task": "reference_judge"}


def wish(rng: random.Random) -> dict[str, Any]:
    """An open question, which has no reference (task `preference_open`)."""
    return {"question": rng.choice(WISHES), "reference": "", "task": "preference_open"}
