"""The tables of a pipeline: stages side by side, differences paired by prompt, and pass@k from what was kept."""

import json
import math
from pathlib import Path

import pytest

from rl.stage_tables import Cell, make_tables

ALL = [{"metric": "eval/*/avg@*"}]


def stage_of(name: str, *rows: dict, folder: Path = Path("nowhere")) -> dict:
    return {"name": name, "rows": list(rows), "folder": folder}


def measures(stages, wanted=ALL):
    return make_tables(stages, wanted)["measures"]


def test_the_table_sets_stages_side_by_side_and_has_the_model_before():
    stages = [
        stage_of(
            "rl",
            {"step": 0, "eval/sums/avg@4": 0.2, "eval/sums/se@4": 0.01, "eval/sums/boxed/avg@4": 0.9},
            {"step": 4, "eval/sums/avg@4": 0.5, "eval/sums/se@4": 0.02},
        ),
        stage_of("data"),
        stage_of(
            "fusion",
            {"step": 0, "eval/aime-thinking/avg@8": 0.7, "eval/aime-no_think/avg@8": 0.3, "eval/sums/avg@4": None},
        ),
    ]
    table = measures(stages)
    assert table.columns == ["before", "rl", "fusion"]
    assert table.lines["sums, avg@4"] == {"before": Cell(0.2, 0.01), "rl": Cell(0.5, 0.02)}
    assert table.lines["aime-thinking, avg@8"] == {"fusion": Cell(0.7, None)}
    assert measures([stage_of("curate", {"step": 0, "data/kept": 7.0})], [{"metric": "data/*"}]).lines == {
        "data, kept": {"curate": Cell(7.0, None)}
    }
    budgets = stage_of("b", {"step": 0, **{f"eval/s/budget-{n}/avg@4": 0.5 for n in (12, 4)}})
    lines = measures([budgets], [{"metric": "eval/*/budget-*/avg@*"}]).lines
    assert list(lines) == ["s, budget-4, avg@4", "s, budget-12, avg@4"]
    named = measures(stages, [{"metric": "eval/sums/avg@4", "label": "Sums"}])
    assert list(named.lines) == ["Sums"]
    assert measures([stage_of("a")]).lines == {}


def keep(folder: Path, file: str, **prompts: list[float | None]) -> Path:
    """Responses with these scores by the first parser, and with none of these right by another."""
    rows = [
        {"id": name, "responses": [{"scores": {"boxed": score, "lenient": 0.0}} for score in scores]}
        for name, scores in prompts.items()
    ]
    (folder / "evals").mkdir(parents=True, exist_ok=True)
    (folder / "evals" / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def stages(tmp_path):
    """Three stages that train; the second measures nothing of it, the third other prompts too, and one less."""
    first = keep(tmp_path / "a", "sums-step-0", p=[0, 0], q=[0, 0], r=[1, 0])
    keep(first, "sums-step-9", p=[1, 0], q=[1, 1], r=[1, 0])
    last = keep(tmp_path / "c", "sums-step-5", p=[0, 0], q=[1, 1], r=[1, None], s=[1, 1])
    return [
        stage_of("a", {"step": 0, "eval/sums/avg@2": 1 / 6}, {"step": 9, "eval/sums/avg@2": 2 / 3}, folder=first),
        stage_of("b", {"step": 1, "loss/policy": 1.0}),
        stage_of("c", {"step": 5, "eval/sums/avg@2": 0.75}, folder=last),
    ]


def test_a_difference_is_paired_with_the_stage_before_it_that_measured_the_same_prompts(stages):
    cells = measures(stages).lines["sums, avg@2"]
    assert cells["before"] == Cell(1 / 6, None)
    trained, last = cells["a"], cells["c"]
    assert (trained.before, trained.num_paired, trained.is_clear) == ("before", 3, False)
    assert trained.gain == pytest.approx((0.5 + 1 + 0) / 3)
    assert trained.gain_error == pytest.approx(0.5 / math.sqrt(3))
    assert (last.before, last.num_paired) == ("a", 3), "s is new, and in no difference"
    assert last.gain == pytest.approx((-0.5 + 0 + 0.5) / 3)


def test_pass_at_k_is_made_from_the_responses_of_every_stage(stages):
    table = make_tables(stages, ALL)["pass_k"]
    assert table.columns == ["before", "a", "c"]
    cells = table.lines["sums, pass@2"]
    assert [cells[name].value for name in table.columns] == pytest.approx([1 / 3, 1, 2 / 3])
    assert cells["a"].gain == pytest.approx(2 / 3)
    assert (cells["c"].gain, cells["c"].num_paired) == (pytest.approx(-1 / 2), 2), "r has one scored sample alone"


def test_a_large_k_is_cut_into_quarters_and_each_suite_and_parser_has_its_own(tmp_path):
    folder = keep(tmp_path, "s-budget-8-step-3", p=[1] + [0] * 63, q=[0] * 64)
    metrics = {"eval/s/budget-8/avg@64": 1 / 128, "eval/s/budget-8/lenient/avg@64": 0.0}
    wanted = [{"metric": "eval/*/budget-*/avg@*", "label": "Budget"}, {"metric": "eval/*/*/*/avg@*"}]
    table = make_tables([stage_of("a", {"step": 3, **metrics}, folder=folder)], wanted)["pass_k"]
    values = {line: cells["a"].value for line, cells in table.lines.items()}
    assert values == pytest.approx(
        {
            **{"Budget, pass@4": 1 / 32, "Budget, pass@16": 1 / 8, "Budget, pass@64": 1 / 2},
            **{f"s, budget-8, lenient, pass@{k}": 0 for k in (4, 16, 64)},
        }
    )


def test_without_common_prompts_there_is_no_difference(stages, tmp_path):
    keep(tmp_path / "c", "sums-step-5", x=[1, 1])
    assert measures(stages).lines["sums, avg@2"]["c"] == Cell(0.75, None)


def test_a_clear_difference_is_one_beyond_two_errors():
    assert Cell(0.5, 0.1, 0.3, 0.1).is_clear
    assert Cell(0.5, 0.1, -0.3, 0.1).is_clear
    assert not Cell(0.5, 0.1, 0.2, 0.1).is_clear
    assert not Cell(0.5, 0.1, 0.3).is_clear
