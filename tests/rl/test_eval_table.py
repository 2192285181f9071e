"""The table of an evaluation: both errors in words, parsers side by side, and what is only a part is said."""

from rich.console import Console

from rl.eval_table import eval_table, print_evals
from rl.evals import EvalConfig

METRICS = {
    "eval/aime24/avg@4": 0.5,
    "eval/aime24/se@4": 0.0625,
    "eval/aime24/sampling_se@4": 0.03125,
    "eval/aime24/pass@1": 0.5,
    "eval/aime24/pass@4": 0.75,
    "eval/aime24/cons@4": 0.625,
    "eval/aime24/error_rate": 0.25,
    "eval/aime24/unscored_prompts": 1.0,
    "eval/aime24/num_prompts": 3.0,
    "eval/aime24/response_length": 1234.4,
    "eval/aime24/truncated_rate": 0.125,
    "eval/aime24/lenient/avg@4": 0.6875,
    "eval/aime24/lenient/error_rate": 0.25,
}
CONFIG = {"suite": "aime24", "path": "a.jsonl", "samples_per_prompt": 4, "mode": "thinking", "pass_k": [1, 4]}


def text_of(metrics, config=CONFIG):
    console = Console(width=110)
    with console.capture() as captured:
        console.print(eval_table(EvalConfig.model_validate(config), metrics))
    return captured.get()


def row_of(text, label):
    (line,) = [line for line in text.splitlines() if label in line]
    return [cell.strip() for cell in line.strip("│┃ ").split("│")][1:]


def test_a_row_a_number_and_a_column_a_parser():
    text = text_of(METRICS)
    assert row_of(text, "average of 4 samples (avg@4)") == ["0.5000", "0.6875"]
    assert row_of(text, "question error") == ["0.0625", "–"]
    assert row_of(text, "sampling error") == ["0.0312", "–"]
    assert row_of(text, "pass@4") == ["0.7500", "–"]
    assert row_of(text, "cons@4") == ["0.6250", "–"]
    assert row_of(text, "without a score") == ["25.00%", "25.00%"]
    assert "aime24: thinking mode, 4 samples a question, temperature 0.6" in text


def test_instructions_stand_below_prompts():
    values = {"avg@1": 0.25, "instruction_avg@1": 0.5, "instruction_se@1": 0.125, "error_rate": 0.0}
    counts = {"num_prompts": 541.0, "response_length": 9.0, "truncated_rate": 0.0, "unscored_prompts": 0.0}
    metrics = {f"eval/ifeval/{name}": value for name, value in (values | counts).items()}
    text = text_of(metrics, {"suite": "ifeval"})
    assert row_of(text, "all instructions followed (instruction_avg@1)") == ["0.5000", "–"]
    assert row_of(text, "± its question error") == ["0.1250", "–"]
    assert "instruction" not in text_of(METRICS)


def test_a_part_of_a_suite_under_a_budget_is_said():
    budget = METRICS | {name.replace("aime24", "aime24/budget-64"): value for name, value in METRICS.items()}
    (config,) = EvalConfig.model_validate(CONFIG | {"thinking_budgets": [64]}).under_budgets()
    console = Console(width=110)
    with console.capture() as captured:
        console.print(eval_table(config, budget))
    assert "aime24/budget-64: thinking mode" in captured.get()
    assert "3 questions of the suite's 30" in captured.get()


def test_what_is_a_part_or_cut_off_is_said():
    text = text_of(METRICS)
    assert "3 questions of the suite's 30: a part, not its number" in text
    assert "1234 tokens on average, 12.5% of them cut off at 38912" in " ".join(text.split())
    assert "1 questions have no scored sample and are in no number" in text
    whole = METRICS | {"eval/aime24/num_prompts": 30.0, "eval/aime24/unscored_prompts": 0.0}
    assert "a part" not in text_of(whole)
    assert "no number" not in text_of(whole)


def test_the_numbers_of_a_hook_stand_below(capsys):
    hook = EvalConfig.model_validate({"suite": "judge", "hook": "judge_canaries"})
    print_evals([EvalConfig.model_validate(CONFIG), hook], METRICS | {"canary/false_accept_rate": 0.25})
    printed = capsys.readouterr().out
    assert printed.endswith("canary/false_accept_rate 0.25\n")
    assert "eval/aime24" not in printed
