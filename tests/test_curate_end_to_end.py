"""Curations as a user starts them: a model that gets nothing right, verdicts of people, and a selection afterwards."""

import json

import pytest

from tests.commands import finish, start_run

SMOKE = "configs/smoke/curate.yaml"
SCRIPTED = (
    "candidates={model: null, generator: 'tests.rl.worked:solution', options: {kinds: [good, wrong]}, num_samples: 4}"
)


def rows_of(folder, name):
    return [json.loads(line) for line in (folder / "data" / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_what_a_model_never_gets_right_goes_to_people_and_comes_back(tmp_path):
    finish(start_run(SMOKE, tmp_path, "log.name=tiny"))
    folder = tmp_path / "tiny"
    waiting = rows_of(folder, "review")
    assert waiting
    assert (folder / "report.html").is_file()
    waiting[0]["candidates"][0]["right"] = True
    (tmp_path / "verdicts.jsonl").write_text(json.dumps(waiting[0]) + "\n")
    verdicts = f"review.path={tmp_path / 'verdicts.jsonl'}"
    errors = finish(start_run(SMOKE, tmp_path, verdicts, "--resume", str(folder)))
    assert "asking for responses" not in errors  # no engine is started for what is known
    stages = {stage["stage"]: stage for stage in json.loads((folder / "data/curation.json").read_text())["stages"]}
    assert stages["pass@N"]["noted"] == {"passed_by_people": 1}


@pytest.mark.slow
def test_a_scripted_teacher_gives_conversations_and_the_selection_leaves_them_out(tmp_path):
    finish(start_run(SMOKE, tmp_path, SCRIPTED, "query_filters.without_thinking=null", "log.name=taught"))
    data = tmp_path / "taught/data"
    conversations = rows_of(tmp_path / "taught", "conversations")
    assert conversations
    config = tmp_path / "select.yaml"
    config.write_text(
        f"recipe: select\nqueries: [{{path: {data}/queries.jsonl}}]\nexclude: [{tmp_path}/learned.jsonl]\n"
        f"held_out: [{{path: {data}/validation.jsonl}}]\n"
        "pairs: {generator: 'tests.rl.worked:solution', options: {kinds: [good, wrong]}, num_samples: 4}\n"
    )
    (tmp_path / "learned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in conversations[:5]))
    finish(start_run(str(config), tmp_path, "log.name=pairs"))
    pairs = rows_of(tmp_path / "pairs", "rl_prompts")
    assert pairs
    assert not {row["id"] for row in pairs} & {row["query_id"] for row in conversations[:5]}
