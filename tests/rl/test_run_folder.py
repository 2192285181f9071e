"""Reading run folders while they are written: nothing twice, nothing half, nothing from outside."""

import json
import os

import pytest

from rl.run_folder import RunFolders, differing, flatten, parse_object, read_last, read_rows
from rl.sample_pages import MAX_CHARACTERS, MAX_GROUPS, read_page, read_text
from rl.sample_rows import scored_rows
from tests.fakes import make_scored
from tests.rl.test_log import make_log


def steps(page):
    return [row["step"] for row in page.rows]


def test_each_row_is_read_once_while_a_run_writes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with make_log(tmp_path) as log:
        log.write(0, {"reward/mean": 0.5})
        first = read_rows(path)
        assert (steps(first), first.is_fresh, first.is_end) == ([0], True, True)
        log.write(1, {"reward/mean": 0.5})
        with open(path, "a") as file:
            file.write('{"step": 2, "reward/mean": 0.')
        second = read_rows(path, first.place)
        assert (steps(second), second.is_fresh) == ([1], False)
        assert steps(read_rows(path, second.place)) == []
        with open(path, "a") as file:
            file.write("75}\n")
        assert read_rows(path, second.place).rows == [{"step": 2, "reward/mean": 0.75}]


def test_a_resumed_run_is_read_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with make_log(tmp_path) as log:
        for step in range(4):
            log.write(step, {"reward/mean": 0.5})
        place = read_rows(path).place
        log.truncate_after(2)
        for step in (3, 4, 5):
            log.write(step, {"reward/mean": 0.25})
    page = read_rows(path, place)
    assert (page.is_fresh, steps(page)) == (True, [0, 1, 2, 3, 4, 5]), "rows 3 of both would be one run's"


@pytest.mark.parametrize("place", ["", "x", "1.2", ".", "9.-5", "9.99999999999999999999"])
def test_a_place_of_no_file_of_ours_begins_at_the_start(tmp_path, place):
    (tmp_path / "m").write_text('{"step": 1}\n')
    assert steps(read_rows(tmp_path / "m", place)) == [1]


def test_a_long_file_comes_in_pages_and_lines_that_are_no_rows_are_passed_over(tmp_path):
    path = tmp_path / "m"
    rows = [json.dumps({"step": step}) for step in range(50)]
    path.write_text("\n".join([*rows[:20], "x" * 1000, "[1]", "{", *rows[20:]]) + "\n")
    found, place = [], ""
    for _ in range(100):
        page = read_rows(path, place, max_bytes=128)
        found, place = found + steps(page), page.place
        if page.is_end:
            break
    assert found == list(range(50))


def test_what_is_no_json_number_is_null_and_no_depth_breaks_the_reader():
    assert parse_object(b'{"a": NaN, "b": 1e999, "c": 1}') == {"a": None, "b": None, "c": 1}
    assert parse_object(b'{"a":' + b"[" * 100_000) is None
    assert parse_object(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}") is None
    assert parse_object(b"[1]") is None


def test_the_last_lines_are_whole(tmp_path):
    path = tmp_path / "m"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in range(100)) + '{"step": 1')
    rows, is_cut = read_last(path, max_bytes=64)
    assert rows[-1] == {"step": 99}
    assert is_cut
    assert all(row["step"] > 90 for row in rows)


def test_runs_are_found_with_the_stages_of_pipelines(tmp_path):
    for name in ("a", "pipe", "pipe/stages/one", "pipe/stages/two"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "config.yaml").write_text("config: {}")
    (tmp_path / "empty").mkdir()
    assert list(RunFolders(tmp_path).runs()) == ["a", "pipe", "pipe/stages/one", "pipe/stages/two"]
    assert list(RunFolders(tmp_path / "pipe").runs()) == [".", "stages/one", "stages/two"]
    with pytest.raises(ValueError, match="give the one that holds run folders"):
        RunFolders(tmp_path / "none")


def test_nothing_outside_is_a_run_or_a_file_of_one(tmp_path):
    secret, root = tmp_path / "secret", tmp_path / "runs"
    (secret / "stages" / "s").mkdir(parents=True)
    for folder in (secret, secret / "stages" / "s"):
        (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    (root / "mine").mkdir(parents=True)
    (root / "mine" / "config.yaml").write_text("config: {}")
    (root / "link").symlink_to(secret)
    (root / "mine" / "metrics.jsonl").symlink_to(secret / "metrics.jsonl")
    (root / "mine" / "loop").symlink_to(root / "mine" / "loop")
    os.mkfifo(root / "mine" / "events.jsonl")
    folders = RunFolders(root)
    assert list(folders.runs()) == ["mine"]
    for name in ("metrics.jsonl", "events.jsonl", "loop", "../../secret/metrics.jsonl", str(secret / "metrics.jsonl")):
        assert folders.file("mine", name) is None, name
    for name in ("..", "../secret", "link", "mine/../../secret", "/", str(secret), ""):
        with pytest.raises(LookupError):
            folders.run(name)


def test_configs_differ_by_dotted_keys():
    one = dict(flatten({"a": {"b": 1, "c": [1, {"d": 2}]}, "e": {}, "f": 3}))
    two = dict(flatten({"a": {"b": 1, "c": [1, {"d": 4}]}, "e": {}, "g": None}))
    assert one == {"a.b": 1, "a.c.0": 1, "a.c.1.d": 2, "e": {}, "f": 3}
    assert differing({"one": one, "two": two}) == {"a.c.1.d": [2, 4], "f": [3, "–"], "g": ["–", None]}
    assert set(differing({"one": one})) == set(one), "of a single run, all"


def write_samples(folder, groups):
    with make_log(folder) as log:
        log.write_samples(1, scored_rows(groups, [[0.0] * len(group.rewards) for group in groups]))
    return folder / "samples" / "step-1.jsonl"


def test_groups_come_by_the_page_and_by_kind(tmp_path):
    scores = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [None, 1.0]] * 10
    path = write_samples(tmp_path, [make_scored(of_group) for of_group in scores])
    found, start = [], 0
    while start is not None:
        page = read_page(path, start)
        assert 0 < len(page["groups"]) <= MAX_GROUPS
        found, start = found + page["groups"], page["next"]
    assert [[r["score"] for r in group["responses"]] for group in found] == scores
    kinds = {kind: len(read_page(path, kind=kind)["groups"]) for kind in ("mixed", "high", "low", "lost", "cut")}
    assert kinds == {"mixed": 10, "high": 20, "low": 10, "lost": 10, "cut": 0}, "a page of one score is `high`, too"
    assert len(read_page(path, find="nowhere")["groups"]) == 0
    assert len(read_page(path, kind="low", find="X")["groups"]) == 10


def test_a_huge_response_is_cut_and_all_of_it_is_to_be_had(tmp_path):
    text = "start" + "y" * 300_000 + "end"
    group = make_scored([1.0])
    path = write_samples(tmp_path, [group])
    (row,) = [json.loads(line) for line in path.read_text().splitlines()]
    row["responses"] = [row["responses"][0] | {"text": text}] * 70
    path.write_text(json.dumps(row) + "\n")
    (shown,) = read_page(path)["groups"]
    assert (len(shown["responses"]), shown["num_responses"]) == (64, 70)
    first = shown["responses"][0]
    assert len(first["text"]) < MAX_CHARACTERS + 100
    assert (first["text"][:5], first["text"][-3:], first["characters"]) == ("start", "end", len(text))
    assert read_text(path, shown["at"], 69) == text
    assert json.loads(read_text(path, shown["at"], None)) == row
    for at, response in ((shown["at"], 70), (1, 0)):
        with pytest.raises(LookupError):
            read_text(path, at, response)


def test_lines_that_are_no_groups_are_counted_and_a_line_too_long_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("rl.sample_pages.MAX_LINE_BYTES", 2000)
    path = write_samples(tmp_path, [make_scored([1.0])])
    group = path.read_text()
    path.write_text("{}\n" + group + '{"responses": [1], "messages": []}\n' + "z" * 9000 + "\n" + group + group[:50])
    page = read_page(path)
    assert (len(page["groups"]), page["num_unreadable"], page["next"]) == (2, 3, None)


def test_a_search_without_findings_reads_a_bounded_part_at_a_time(tmp_path, monkeypatch):
    path = write_samples(tmp_path, [make_scored([1.0])] * 40)
    monkeypatch.setattr("rl.sample_pages.MAX_SCAN_BYTES", path.stat().st_size // 4)
    starts = [0]
    while (page := read_page(path, starts[-1], find="nowhere"))["next"] is not None:
        assert page["groups"] == []
        starts.append(page["next"])
    assert len(starts) >= 4
