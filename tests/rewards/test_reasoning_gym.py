"""The task `reasoning_gym`: every generator takes its own answer over JSON, and none pays for junk or runs it."""

import json

import pytest

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.puzzle_guards import GUARDS
from rl.sources import Source, SourceConfig

PUZZLES = 3  # of each generator
SLOW_TO_MAKE = {"composite"}
NO_ANSWER = {
    "boxnet",
    "graph_color",
    "propositional_logic",
    "rubiks_cube",
    "rush_hour",
}  # entries without an answer of their own


def generators():
    import reasoning_gym.factory

    return sorted(set(reasoning_gym.factory.DATASETS) - SLOW_TO_MAKE)


def judge(response, reference, **params):
    request = RewardRequest(task="reasoning_gym", response=response, reference=reference, params=params)
    return load_tasks()["reasoning_gym"].function(request)


def tagged(answer, reference, **params):
    return judge(f"<answer>{answer}</answer>", reference, extract="answer_tag", **params)


@pytest.fixture(scope="module")
def puzzles():
    made = {}

    def make(name):
        if name not in made:
            source = Source(SourceConfig(reasoning_gym=name, limit=PUZZLES), seed=3)
            prompts = [source.prompt(index) for index in range(PUZZLES)]
            assert {prompt.task for prompt in prompts} == {"reasoning_gym"}
            made[name] = [json.loads(json.dumps(prompt.reference)) for prompt in prompts]
        return made[name]

    return make


@pytest.mark.parametrize("name", generators())
def test_a_generator_takes_its_own_answer_after_json(name, puzzles):
    for reference in puzzles(name):
        answer = reference["entry"]["answer"]
        if answer is None:
            assert name in NO_ANSWER
            continue
        if "Integral" in answer:  # it states the problem, and is no answer to it
            continue
        result = tagged(answer or '""', reference)
        assert (result.score, result.status) == (1, "ok"), (answer, result.reason)


JUNK = (
    "nan", "NaN", "inf", "-", ".", "?", "x", "perhaps", "None", "[]", "{}", "[NaN]", "()", "0/1", "1 or 2", "A, B, C",
    "I do not know the answer to this question.", "the answer is as above", "\\text{}", "'", "1e999999999", "__name__",
)  # fmt: skip


@pytest.mark.parametrize("name", generators())
def test_a_generator_pays_nothing_for_junk(name, puzzles):
    for reference in puzzles(name):
        answer = reference["entry"]["answer"]
        for junk in JUNK:
            if answer is not None and junk.strip().casefold() == answer.strip().casefold():
                continue
            result = tagged(junk, reference)
            assert (result.score, result.status) == (0, "ok"), (junk, answer, result)


@pytest.mark.parametrize("name", generators())
def test_a_generator_pays_nothing_for_an_answer_among_others(name, puzzles):
    for reference in puzzles(name):
        answer = reference["entry"]["answer"]
        if not answer:
            continue
        for stuffed in (
            f"{answer} or {answer}7",
            f"{answer}\n{answer}\n{answer}",
            f"not {answer}",
            f"{answer}, 7, 8, 9",
        ):
            if name == "sokoban" and stuffed.count(answer) == 3:  # moves after the last box are no fault
                continue
            result = tagged(stuffed, reference)
            assert (result.score, result.status) == (0, "ok"), (stuffed, result)


@pytest.mark.parametrize("name", generators())
def test_no_generator_runs_an_answer(name, puzzles, tmp_path):
    mark = tmp_path / "ran"
    reference = puzzles(name)[0]
    for code in (f"__import__('pathlib').Path({str(mark)!r}).touch()", f"[open({str(mark)!r}, 'w')]",
                 f"(lambda: open({str(mark)!r}, 'w'))()", f"sympify(\"open({str(mark)!r}, 'w')\")"):  # fmt: skip
        result = tagged(code, reference, floor=0)
        assert result.status == "ok"
        assert result.score < 1
        assert not mark.exists()


def puzzle(generator, answer, options=None, **metadata):
    reference = {"generator": generator, "entry": {"question": "", "answer": answer, "metadata": metadata}}
    return reference | ({"options": options} if options else {})


OVERPAID = [
    ("game_of_life_halting", "True", "False", {}),
    ("coin_flip", "0.25", "0", {}),
    ("complex_arithmetic", "1 + 2i", "nan", {"result": [1, 2]}),
    ("number_sorting", "['10', '20']", "[NaN, NaN]", {"direction": "ascending"}),
    ("number_sorting", "['10', '20']", "[10.5, 20.9]", {"direction": "ascending"}),
    ("puzzle24", "8*(4 - 1 - 0)", "6*4*1*1", {"numbers": [8, 4, 1, 0]}),
    ("puzzle24", "8*(4 - 1 - 0)", "(9*8+2)/3", {"numbers": [9, 8, 2, 3]}),
    ("gsm_symbolic", "20", "not 20", {}),
    ("gsm_symbolic", "20", "20 or 21", {}),
    ("gsm_symbolic", "20", "-20", {}),
    ("word_sorting", "a, b", "a, b, c, d", {"sorted_words": ["a", "b"]}),
    ("game_of_life", "[[1, 0]]", "[[1, 0, 5], [7]]", {}),
    ("letter_jumble", "an egg", "an egg or two", {}),
    ("figlet_font", "strawberry", "strawberryjam", {}),
    ("time_intervals", "5 days", "5 days or 6 days", {"task_type": "date"}),
    ("polynomial_equations", "", "perhaps", {}),
    ("quantum_lock", "A → B", "not A → B", {}),
    ("survo", "1 2\n3 4", "not 1 2\n3 4", {"board_size": 2, "solution": [[1, 2], [3, 4]]}),
    ("fraction_simplification", "1/2", "$\\frac{1}{2}$ or 3",
     {"simplified_numerator": 1, "simplified_denominator": 2, "numerator": 2, "denominator": 4}),
    ("simple_integration", "x**2 + C", "Integral(2*x, x)", {"variable": "x", "integrand": "2*x"}),
    ("propositional_logic", None, "(P ∧ Q)", {"variables": ["P", "Q"], "premises": ["(P ∧ Q)"]}),
]  # fmt: skip


@pytest.mark.parametrize(("generator", "own", "trap", "metadata"), OVERPAID)
def test_what_a_generator_overpays_scores_0(generator, own, trap, metadata):
    import reasoning_gym

    reference = puzzle(generator, own, **metadata)
    theirs = reasoning_gym.create_dataset(generator, seed=0, size=1).score_answer(trap, reference["entry"])
    assert theirs == 1, "the guard is no longer needed"
    assert (tagged(trap, reference).score, tagged(trap, reference).status) == (0, "ok")


def test_partial_credit_is_kept_from_the_floor_on():
    reference = puzzle("chain_sum", "1234")
    assert tagged("1234 1235", reference).score == 0
    assert tagged("1234 1235", reference).components == {"generator": 4 / 9}
    assert tagged("1234 1235", reference, floor=0.4).score == 4 / 9
    assert tagged("1234 1235", reference, floor=0.5).score == 0


def test_the_options_of_a_generator_count():
    near, exact = puzzle("decimal_arithmetic", "1.23456"), {"max_num_decimal_places": 5, "min_num_decimal_places": 5}
    assert tagged("1.2344", near | {"options": exact | {"precision": 9}}).score == 0
    assert tagged("1.23456", near | {"options": exact | {"precision": 9}}).score == 1


def test_no_solution_can_be_said():
    reference = puzzle("polynomial_equations", "")
    assert [tagged(answer, reference).score for answer in ('""', "''", "0", "none", "1, 2")] == [1, 1, 0, 0, 0]
    assert judge('\\boxed{""}', reference).score == 1


def test_an_answer_that_a_generator_cannot_read_is_wrong_and_says_so():
    result = tagged("two times three", puzzle("prime_factorization", "2 × 3"))
    assert (result.score, result.status) == (0, "ok")
    assert "cannot read it: ValueError" in result.reason


def test_what_a_generator_raises_for_its_own_answer_is_an_error():
    with pytest.raises(KeyError):
        tagged("a,b", puzzle("word_ladder", "A,B"))


@pytest.mark.parametrize(
    "reference",
    [None, "7", {}, {"generator": "chain_sum"}, {"generator": "none", "entry": {"answer": "1", "metadata": {}}},
     {"generator": 7, "entry": {"answer": "1", "metadata": {}}}, {"generator": "chain_sum", "entry": {"answer": "1"}},
     puzzle("chain_sum", 7), puzzle("chain_sum", "7", options={"terms": 9}), puzzle("arc_agi", "1 2", output=[[2, 1]]),
     puzzle("rearc", "1 2"), puzzle("bitwise_arithmetic", "0x1", problem="__import__('os').getpid()"),
     puzzle("number_sorting", "[open('x')]", direction="ascending"),
     puzzle("simple_integration", "x", variable="x", integrand="x.__class__")],
)  # fmt: skip
def test_references_that_cannot_be_used_are_unscorable(reference):
    assert tagged("12", reference).status == "unscorable"


def test_params_that_cannot_be_used_are_named():
    for params in ({"floor": 2}, {"floor": "x"}, {"floor": True}, {"extract": "all"}):
        with pytest.raises(ValueError, match=f"params.{next(iter(params))}"):
            judge("\\boxed{1}", puzzle("chain_sum", "1"), **params)


@pytest.mark.parametrize("generator", sorted(GUARDS))
@pytest.mark.parametrize("text", ["(" * 4000, "[" * 4000, "-" * 4000 + "1", "9**" * 1000 + "9", "1" * 4000, "x+" * 999])
def test_hostile_answers_are_wrong(generator, text, puzzles):
    result = tagged(text, puzzles(generator)[0])
    assert (result.score, result.status) == (0, "ok")
