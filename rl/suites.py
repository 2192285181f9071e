"""Suites by name: where their questions come from, how these are asked and judged, and how answers are sampled."""

import itertools
import logging
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rl import arithmetic, tool_tasks
from rl.rows import Row, named_rows
from rl.seeds import derive_seed
from rl.sources import Source, SourceConfig, to_prompt
from rollout.types import Prompt, SamplingParams

logger = logging.getLogger(__name__)

Mode = Literal["thinking", "non-thinking"]
BOXED = "{question}\nPlease reason step by step, and put your final answer within \\boxed{}."  # Qwen3's own wording
LETTER = "{question}\nPlease reason step by step, and put the letter of your choice within \\boxed{}."
MAX_TOKENS = 32_768
MAX_DRAWS_PER_PROMPT = 100  # of a generator, for a suite of different ones
NUM_SAMPLES = 4  # where neither the config nor the suite says
# Qwen3 report, section 4.6: the settings of its tables.
SETTINGS = {
    "thinking": SamplingParams(temperature=0.6, top_p=0.95, top_k=20, max_tokens=MAX_TOKENS),
    "non-thinking": SamplingParams(temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5, max_tokens=MAX_TOKENS),
}
PARSERS: dict[str, dict[str, Any]] = {  # parameters of the reward that make it read an answer that way
    "boxed": {"extract": "boxed"},
    "lenient": {"extract": "lenient"},
    "strict": {"mode": "strict"},
    "loose": {"mode": "loose"},
    "choice": {},
    "whole": {},  # of a task that reads no answer out of a response
}
VOTELESS = {"strict", "loose", "whole"}  # what they read is a whole text, and texts hardly ever agree

_INTEGER = re.compile(r"(\d{1,4})(?:\.0+|\^\\circ|\^\{\\circ\})?", re.ASCII)  # one published file has a degree sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Named questions and how the Qwen3 report asks them.

    They come from `dataset` (Hugging Face id, `name`, `split`) or a local file of its fields, or from `rows`, in the
    order in which `limit` cuts them. `read(row, where)` gives `question`, `reference` and `params`; ValueError says
    what is wrong with a row. `sampling` is for suites that the report does not have.
    """

    task: str | None = None  # None: its rows name theirs
    dataset: str | None = None
    name: str | None = None
    split: str = "test"
    num_rows: int | None = None
    rows: Callable[..., Iterable[Row]] | None = None
    read: Callable[[Row, str], dict[str, Any]] | None = None
    system: str | None = None
    examples: tuple[dict[str, str], ...] = ()
    template: str | None = None
    parsers: tuple[str, ...] = ("boxed", "lenient")
    num_samples: int = 1
    has_pass_curve: bool = False
    max_tokens: int = MAX_TOKENS
    sampling: SamplingParams | None = None


def read_problem(row: Row, where: str) -> dict[str, Any]:
    """A mathematics problem with its final answer."""
    reference = _field(row, where, "answer", "reference", "expected_answer")
    return {"question": _question(row, where), "reference": str(reference)}


def read_aime(row: Row, where: str) -> dict[str, Any]:
    """A problem of the AIME: its answer is an integer from 0 to 999, with leading zeros or without."""
    answer = _field(row, where, "answer", "reference", "expected_answer")
    literal = None if isinstance(answer, bool) else _INTEGER.fullmatch(str(answer).strip())
    if literal is None or int(literal[1]) > 999:
        raise ValueError(f"{where}: answer {answer!r:.80} is no integer from 0 to 999")
    return {"question": _question(row, where), "reference": str(int(literal[1]))}


def read_gsm8k(row: Row, where: str) -> dict[str, Any]:
    """A word problem; the final answer stands after `####` in the worked one."""
    answer = str(_field(row, where, "answer", "reference"))
    final = answer.rpartition("####")[2].strip().replace(",", "")
    if not re.fullmatch(r"-?\d+(\.\d+)?", final):
        raise ValueError(f"{where}: answer {answer[-80:]!r} ends in no number, after #### or alone")
    return {"question": _question(row, where), "reference": final}


def read_gpqa(row: Row, where: str) -> dict[str, Any]:
    """A question with four options, shuffled by a seed that depends on the question alone."""
    question = _question(row, where)
    right, *wrong = (
        str(_field(row, where, name)).strip()
        for name in ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
    )
    options = [right, *wrong]
    random.Random(derive_seed(0, "gpqa", question)).shuffle(options)
    listed = "\n".join(f"{label}) {option}" for label, option in zip("ABCD", options, strict=True))
    reference = "ABCD"[options.index(right)]
    return {"question": f"{question}\n\n{listed}", "reference": reference, "params": {"options": len(options)}}


def read_ifeval(row: Row, where: str) -> dict[str, Any]:
    """A prompt with the instructions that can be checked."""
    names, arguments = _field(row, where, "instruction_id_list"), _field(row, where, "kwargs")
    if not isinstance(names, list) or not isinstance(arguments, list) or len(names) != len(arguments):
        raise ValueError(f"{where}: instruction_id_list and kwargs must be lists of one length")
    reference = {"instruction_id_list": names, "kwargs": arguments}
    return {"question": _question(row, where), "reference": reference}


_AIME: dict[str, Any] = {
    "task": "math_int", "read": read_aime, "template": BOXED, "num_rows": 30, "num_samples": 64,
    "has_pass_curve": True, "max_tokens": 38_912,
}  # fmt: skip
SUITES = {
    "aime24": Suite(dataset="HuggingFaceH4/aime_2024", split="train", **_AIME),
    "aime25": Suite(dataset="math-ai/aime25", **_AIME),
    "math500": Suite(
        task="math", dataset="HuggingFaceH4/MATH-500", num_rows=500, read=read_problem, template=BOXED
    ),
    "gsm8k": Suite(
        task="math", dataset="openai/gsm8k", name="main", num_rows=1319, read=read_gsm8k, template=BOXED
    ),
    "gpqa": Suite(
        task="mcq", dataset="Idavidrein/gpqa", name="gpqa_diamond", split="train", num_rows=198, read=read_gpqa,
        template=LETTER, parsers=("choice",), num_samples=10,
    ),
    "ifeval": Suite(
        task="ifeval", dataset="google/IFEval", split="train", num_rows=541, read=read_ifeval,
        parsers=("strict", "loose"),
    ),
    "arithmetic": Suite(
        task="math", rows=arithmetic.held_out, system=arithmetic.SYSTEM, examples=arithmetic.EXAMPLES,
        num_samples=NUM_SAMPLES, sampling=SamplingParams(max_tokens=32),
    ),
    "calculations": Suite(
        rows=tool_tasks.held_out_calculations, num_samples=NUM_SAMPLES, sampling=SamplingParams(max_tokens=256)
    ),
    "bookkeeping": Suite(
        rows=tool_tasks.held_out_bookkeeping, num_samples=NUM_SAMPLES, sampling=SamplingParams(max_tokens=512)
    ),
}  # fmt: skip


def find_suite(name: str, has_source: bool) -> Suite | None:
    """The suite of that name, under a budget or not, unless the config has prompts of its own under it."""
    return None if has_source else SUITES.get(name.partition("/budget-")[0])


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an evaluation's config with what its suite and mode say where they say nothing.

    Fields of `sampling` are filled in one by one. What has the wrong type is left for the config to refuse.
    """
    name, mode, given = values.get("suite"), values.get("mode"), values.get("sampling")
    suite = find_suite(name, values.get("source") is not None) if isinstance(name, str) else None
    filled = dict(values)
    if isinstance(mode, str | None) and mode in (None, *SETTINGS):
        sampling = _settings(suite, mode).model_dump()
        if given is None or isinstance(given, dict):
            filled["sampling"] = sampling | (given or {})
    filled.setdefault("samples_per_prompt", suite.num_samples if suite else NUM_SAMPLES)
    if suite is not None:
        filled.setdefault("extracts", list(suite.parsers))
        most = filled["samples_per_prompt"]
        if suite.has_pass_curve and isinstance(most, int) and most > 0:
            filled.setdefault("pass_k", sorted({2**n for n in range(most.bit_length()) if 2**n < most} | {most}))
    return filled


def _settings(suite: Suite | None, mode: str | None) -> SamplingParams:
    if mode is None and (suite is None or suite.sampling is not None):
        return suite.sampling if suite is not None and suite.sampling is not None else SamplingParams()
    limit = suite.max_tokens if suite is not None else MAX_TOKENS
    return SETTINGS[mode or "thinking"].model_copy(update={"max_tokens": limit})


def read_prompts(
    name: str,
    *,
    source: SourceConfig | None = None,
    path: str | None = None,
    options: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    limit: int | None = None,
    thinking: bool | None = None,
) -> list[Prompt]:
    """The prompts of a suite, in order, each once; of `source`, or of a local file `path` of the suite's fields.

    Raises ValueError for rows that are not the suite's, and where its dataset cannot be had.
    """
    if source is not None:
        told = source.thinking if thinking is None else thinking
        prompts = _of_source(name, source.model_copy(update={"shuffle": False, "thinking": told}), limit)
    else:
        suite = SUITES[name]
        # Only how a row is asked counts here; where it comes from is the suite's business.
        dress = SourceConfig(
            path=name,
            task=suite.task,
            system=suite.system,
            examples=list(suite.examples),
            template=suite.template,
            params=dict(params or {}),
            thinking=thinking,
        )
        rows = _rows(name, suite, path, options or {}, limit)
        prompts = [to_prompt(row, dress, where) for where, row in rows]
    ids = [prompt.id for prompt in prompts]
    if len(set(ids)) != len(ids):
        twice = next(prompt for prompt in prompts if ids.count(prompt.id) > 1)
        raise ValueError(f"suite {name}: a prompt is in it more than once: {twice.messages[-1]['content']!r:.120}")
    return prompts


def _of_source(name: str, source: SourceConfig, limit: int | None) -> list[Prompt]:
    """The prompts of a file, or the first different ones that a generator makes: it may make one again."""
    if source.path is not None or source.dataset is not None:
        opened = Source(source, seed=0)
        return [opened.prompt(index) for index in range(min(len(opened), limit or len(opened)))]
    wanted = limit or source.limit
    assert wanted is not None, "the config of an evaluation sees to that"
    opened = Source(source.model_copy(update={"limit": None}), seed=0)
    prompts: dict[str, Prompt] = {}
    for index in range(MAX_DRAWS_PER_PROMPT * wanted):
        prompt = opened.prompt(index)
        prompts.setdefault(prompt.id, prompt)
        if len(prompts) == wanted:
            return list(prompts.values())
    raise ValueError(
        f"suite {name}: {source.label} makes no more than {len(prompts)} different prompts in "
        f"{MAX_DRAWS_PER_PROMPT * wanted} draws; lower limit = {wanted}"
    )


def _rows(
    name: str, suite: Suite, path: str | None, options: Mapping[str, Any], limit: int | None
) -> list[tuple[str, Row]]:
    if suite.rows is not None:
        rows = itertools.islice(suite.rows(**options), limit)
        return [(f"{name}, row {number}", row) for number, row in enumerate(rows)]
    assert suite.read is not None, "a suite of a dataset says how its rows are read"
    origin = path or f"dataset {suite.dataset}"
    data = (
        SourceConfig(path=path)
        if path is not None
        else SourceConfig(dataset=suite.dataset, name=suite.name, split=suite.split)
    )
    try:
        read = [(where, suite.read(row, where)) for where, row in itertools.islice(named_rows(data, data.label), limit)]
    except ValueError as error:
        remedy = (
            "give a file of the suite's fields"
            if path is not None
            else "where the hub cannot be reached, give a local file of its fields (`path` in the config, or --data "
            "FILE); where the dataset is gated, accept its terms on its page and log in with `hf auth login`"
        )
        raise ValueError(f"suite {name}: {error}; {remedy}") from error
    _check_number(name, suite, len(read), origin, is_whole=path is None, limit=limit)
    return read  # type: ignore[return-value]


def _check_number(name: str, suite: Suite, count: int, origin: str, *, is_whole: bool, limit: int | None) -> None:
    """A dataset holds the suite, the whole suite and nothing else; a file may hold a part of it, which is said."""
    if count == 0:
        raise ValueError(f"suite {name}: {origin} holds no row")
    wanted = suite.num_rows
    if wanted is None:
        return
    if limit is None and (count > wanted or (is_whole and count < wanted)):
        raise ValueError(
            f"suite {name}: {origin} holds {count} rows, the suite {wanted}; set limit to evaluate a part, or "
            "give the file as a suite of its own name"
        )
    if count < wanted:
        logger.warning("suite %s: %d of its %d questions", name, count, wanted)


def _field(row: Row, where: str, *names: str) -> Any:
    """The first field of these names, whatever their case, that is not null."""
    fields = {str(key).lower(): value for key, value in row.items()}
    found = next((fields[name.lower()] for name in names if fields.get(name.lower()) is not None), None)
    if found is None:
        raise ValueError(f"{where}: no field {' or '.join(names)}; it has {', '.join(map(str, row))}")
    return found


def _question(row: Row, where: str) -> str:
    question = _field(row, where, "problem", "question", "prompt")
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"{where}: the question must be a text, got {question!r:.80}")
    return question.strip()
