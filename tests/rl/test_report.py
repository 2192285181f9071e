"""The report: figures by hand, hostile text inert, and a page from whatever a run has left."""

import json
import math
from html.parser import HTMLParser

import pytest
import yaml

from rl.report import build_report, evaluations, headline, make_charts, read_groups

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\u2028 end"
CONFIG = {
    "recipe": "grpo",
    "model": "package:smollm2",
    "num_steps": 4,
    "evals": [{"suite": "arithmetic", "extracts": ["boxed", "lenient"]}],
}
FIRST = {
    "step": 0,
    "eval/arithmetic/avg@4": 0.25,
    "eval/arithmetic/se@4": 0.01,
    "eval/arithmetic/lenient/avg@4": 0.5,
    "eval/arithmetic/lenient/se@4": 0.02,
    "time/step_s": 30.0,
}
STEPS = [
    {
        "step": step,
        "reward/mean": step / 4,
        "throughput/tokens_per_s": 100.0 * step,
        "pack/trained_tokens": 1000.0,
        "time/step_s": 10.0,
        "time/collect_s": 4.0,
        "time/learn_s": 3.0,
    }
    for step in (1, 2, 3, 4)
]
LAST = STEPS[3] | {
    "eval/arithmetic/avg@4": 0.75,
    "eval/arithmetic/se@4": 0.03,
    "eval/arithmetic/gain@4": 0.5,
    "eval/arithmetic/gain_se@4": 0.04,
    "eval/arithmetic/lenient/avg@4": 0.875,
    "time/step_s": 25.0,
    "time/eval_s": 15.0,
}
ROWS = [FIRST, *STEPS[:3], LAST]


def make_run(folder, rows=ROWS, config=CONFIG, tail=""):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    if config is not None:
        content = {"config": config, "versions": {"torch": "2.13.0"}}
        (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def group(text="an answer", score=1.0, **more):
    response = {"text": text, "score": score, "status": "ok", "length": 3, "finish_reason": "stop", "advantage": 0.5}
    return {"id": "p", "messages": [{"role": "user", "content": "?"}], "reference": "1", "responses": [response]} | more


def write_groups(folder, name, groups, tail=""):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(g, ensure_ascii=False) + "\n" for g in groups) + tail, encoding="utf-8")


class Page(HTMLParser):
    """The elements of a page, the content of its scripts and the text between."""

    def __init__(self, path):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: list[tuple[dict, str]] = []
        self.text = ""
        self._script = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._script = dict(attributes) if tag == "script" else None

    def handle_endtag(self, tag):
        self._script = None

    def handle_data(self, data):
        if self._script is None:
            self.text += data
        else:
            self.scripts.append((self._script, data))

    def embedded(self, name):
        return json.loads("".join(text for attributes, text in self.scripts if attributes.get("id") == name))


def test_headline_by_hand(tmp_path):
    head = headline(make_run(tmp_path / "mine"))
    assert (head["name"], head["model"], head["recipe"]) == ("mine", "package:smollm2", "grpo")
    assert (head["step"], head["num_steps"]) == (4, 4)
    assert head["wall_s"] == 85.0
    assert head["parts_s"] == {"collect": 16.0, "learn": 12.0, "sync": 0, "save": 0, "eval": 15.0}
    assert head["tokens_per_s"] == 250.0
    assert head["trained_tokens"] == 4000.0
    assert (head["reward"], head["reward_steps"]) == ((0.375, 0.875), 2)


def test_each_parser_has_its_gain():
    strict, lenient = evaluations(ROWS, CONFIG)
    assert (strict["suite"], strict["measure"], strict["parser"]) == ("arithmetic", "avg@4", "boxed")
    assert (strict["first"], strict["first_se"], strict["last"], strict["last_se"]) == (0.25, 0.01, 0.75, 0.03)
    assert (strict["gain"], strict["gain_se"]) == (0.5, 0.04)
    assert (lenient["parser"], lenient["last_se"]) == ("lenient", None)
    assert (lenient["gain"], lenient["gain_se"]) == (0.375, None), "without a paired gain: the plain difference"


@pytest.mark.parametrize(("gain", "is_fallen"), [(0.5, False), (-0.07, False), (-0.09, True)])
def test_a_loss_of_more_than_two_errors_is_marked(tmp_path, gain, is_fallen):
    rows = [*ROWS[:-1], ROWS[-1] | {"eval/arithmetic/gain@4": gain}]  # its error is 0.04
    assert ("fallen, gain" in Page(build_report(make_run(tmp_path, rows))).text) == is_fallen


def test_a_single_evaluation_has_no_gain():
    (strict, _) = evaluations([FIRST], CONFIG)
    assert "gain" not in strict
    assert strict["first"] == 0.25


def test_components_have_a_chart_a_task_and_no_place_among_the_scores():
    row = {
        "step": 1,
        "reward/mean": 0.5,
        "reward/math/mean": 0.5,
        "reward/open/mean": 0.5,
        "reward/math/rule/mean": 0.25,
        "reward/math/rule/inner/mean": 0.5,
        "reward/math/veto/form/mean": 1.0,
        "reward/math/preference/mean": -7.0,
        "reward/math/judge/mean": None,
    }
    row |= {
        f"reward/math/{n}/zero_variance_rate": 0.5 for n in ("rule", "rule/inner", "veto/form", "preference", "judge")
    }
    charts = {chart["title"]: chart for chart in make_charts([row, {"step": 2, "reward/math/judge/mean": math.nan}])}
    (scores,) = charts["Training reward"]["panels"]
    assert [trace["name"] for trace in scores["traces"]] == ["reward/mean", "reward/math/mean", "reward/open/mean"]
    assert set(charts) == {"Training reward", "Reward components of math"}
    shares, raw = charts["Reward components of math"]["panels"]
    assert shares["traces"] == [
        {"name": "rule", "x": [1], "y": [0.25]},
        {"name": "veto/form", "x": [1], "y": [1.0]},
    ]
    assert raw == {"unit": "preference", "traces": [{"name": "preference", "x": [1], "y": [-7.0]}]}


def test_a_task_of_many_components_shows_some_and_says_so():
    parts = {f"reward/a/b/c{n:02}/{metric}": 1.0 for n in range(20) for metric in ("mean", "zero_variance_rate")}
    (chart,) = [each for each in make_charts([{"step": 1, "reward/a/b/mean": 1.0} | parts]) if "comp" in each["title"]]
    assert chart["title"] == "Reward components of a/b", "a task may be called so"
    assert [trace["name"] for trace in chart["panels"][0]["traces"]] == [f"c{n:02}" for n in range(12)]
    assert chart["note"].endswith("8 more: see metrics.jsonl.")


def test_the_browser_holds_the_components_of_each_response(tmp_path):
    known = {"veto/think_format": 1.0, "rule": 0.0, HOSTILE: None}
    response = group()["responses"][0] | {"components": known}
    run = make_run(tmp_path / "run")
    write_groups(run, "samples/step-1.jsonl", [group(responses=[response])])
    page = Page(build_report(run))
    assert page.embedded("group-data")[0]["responses"][0]["components"] == known
    assert "components(r)" in page.scripts[-1][1]
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_curves_skip_what_was_not_measured():
    rows = [{"step": 1, "reward/mean": 0.5, "policy/entropy": None}, {"step": 2, "reward/mean": math.nan}]
    charts = {chart["title"]: chart for chart in make_charts(rows)}
    assert set(charts) == {"Training reward"}
    (panel,) = charts["Training reward"]["panels"]
    assert panel == {"unit": "score", "traces": [{"name": "reward/mean", "x": [1], "y": [0.5]}]}


def test_tasks_have_curves_of_their_own_where_there_are_several():
    def names(row):
        chart = next(c for c in make_charts([{"step": 1, "reward/mean": 0.5} | row]) if c["title"] == "Training reward")
        return [trace["name"] for trace in chart["panels"][0]["traces"]]

    assert names({"reward/math/mean": 0.5}) == ["reward/mean"]
    assert names({"reward/math/mean": 0.5, "reward/code/mean": 0.5}) == [
        "reward/mean",
        "reward/code/mean",
        "reward/math/mean",
    ]


def test_scores_have_error_bars_and_steps_a_breakdown():
    charts = {chart["title"]: chart for chart in make_charts(ROWS)}
    strict = charts["Held-out score"]["panels"][0]["traces"][0]
    assert strict == {"name": "eval/arithmetic/avg@4", "x": [0, 4], "y": [0.25, 0.75], "error": [0.01, 0.03]}
    parts = {trace["name"]: trace["y"] for trace in charts["Time a step"]["panels"][0]["traces"]}
    assert parts == {"collect": [4.0] * 4, "learn": [3.0] * 4, "other": [3.0] * 4}, "the evaluation is in no part"


def test_one_page_that_needs_no_network(tmp_path):
    make_run(tmp_path)
    write_groups(tmp_path, "samples/step-1.jsonl", [group()])
    write_groups(tmp_path, "evals/arithmetic-step-0.jsonl", [group()])
    path = build_report(tmp_path)
    assert path == tmp_path / "report.html"
    page = Page(path)
    assert not [tag for tag, attributes in page.tags if tag in ("link", "img", "iframe") or "src" in attributes]
    assert [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"] == [
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
    ]
    assert sum("plotly.js v" in text for _, text in page.scripts) == 1
    assert "+0.500 ± 0.040" in page.text
    assert "boxed parser" in page.text
    assert "lenient parser" in page.text
    assert "num_steps: 4" in page.text
    assert "2.13.0" in page.text
    assert [(g["origin"], g["step"]) for g in page.embedded("group-data")] == [("arithmetic", 0), ("", 1)]
    assert not list(tmp_path.glob("*.partial"))


def test_hostile_text_stays_text(tmp_path):
    make_run(
        tmp_path,
        [{"step": 1, "reward/mean": 0.5, f"reward/{HOSTILE}/mean": 0.5, "reward/math/mean": 0.5}],
        CONFIG | {"model": HOSTILE, "evals": []},
    )
    responses = [group()["responses"][0] | {"text": HOSTILE, "reason": HOSTILE, "extracted": HOSTILE}]
    hostile = group(messages=[{"role": "user", "content": HOSTILE}], reference=HOSTILE, responses=responses)
    write_groups(tmp_path, "samples/step-1.jsonl", [hostile])
    page = Page(build_report(tmp_path))
    assert [tag for tag, _ in page.tags].count("script") == 4
    assert "img" not in [tag for tag, _ in page.tags]
    (kept,) = page.embedded("group-data")
    assert kept["responses"][0]["text"] == HOSTILE
    assert kept["reference"] == HOSTILE
    traces = page.embedded("chart-data")[0]["panels"][0]["traces"]
    assert f"reward/{HOSTILE}/mean" in [trace["name"] for trace in traces]
    assert "alert(1)" in page.text, "the model's name is shown as it is"


@pytest.mark.parametrize(
    "rows", [[FIRST], [{"step": 0, "time/step_s": 5.0}], [{"step": 1, "reward/mean": None}], STEPS[:1], STEPS]
)
def test_a_partial_run_has_a_report(tmp_path, rows):
    page = Page(build_report(make_run(tmp_path, rows, config=None)))
    assert page.embedded("group-data") == []
    assert isinstance(page.embedded("chart-data"), list)


def test_an_unfinished_run_says_so(tmp_path):
    assert "2 of 4 steps so far" in Page(build_report(make_run(tmp_path, ROWS[:3]))).text
    assert "so far" not in Page(build_report(make_run(tmp_path))).text


def test_a_line_cut_off_is_said(tmp_path):
    cut = Page(build_report(make_run(tmp_path, tail='{"step": 5, "rew'))).text
    assert "1 line at the end of metrics.jsonl could not be read" in cut
    assert "could not be read" not in Page(build_report(make_run(tmp_path))).text


def test_no_run_no_report(tmp_path):
    with pytest.raises(ValueError, match=r"has no metrics\.jsonl with a row in it"):
        build_report(tmp_path)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    make_run(tmp_path)
    (tmp_path / "report.html").write_text("the old one")
    (tmp_path / "report.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write .*report\.partial: No space left"):
        build_report(tmp_path)
    assert (tmp_path / "report.html").read_text() == "the old one"


def test_groups_come_in_the_order_of_the_run(tmp_path):
    for name in ("samples/step-10", "samples/step-2", "evals/my-suite-step-10", "evals/my-suite-step-0"):
        write_groups(tmp_path, f"{name}.jsonl", [group()])
    groups, note = read_groups(tmp_path)
    found = [(g["origin"], g["step"]) for g in map(json.loads, groups)]
    assert found == [("my-suite", 0), ("", 2), ("", 10), ("my-suite", 10)]
    assert note == ""


def test_the_size_is_capped_and_what_is_missing_is_said(tmp_path):
    for step in range(1, 9):
        write_groups(tmp_path, f"samples/step-{step}.jsonl", [group("x" * 1000), group("x" * 1000)])
    groups, note = read_groups(tmp_path, max_bytes=6000)
    steps = [json.loads(text)["step"] for text in groups]
    assert steps == [1, 3, 5, 8], "both ends and steps between, one group of each"
    assert note == "4 of 8 sample files are left out, 4 are shown in part, for size: see the run folder"
    assert sum(map(len, groups)) < 6000
    page = Page(build_report(make_run(tmp_path)))
    assert len(page.embedded("group-data")) == 16
    assert "left out" not in page.text


def test_the_middle_of_a_very_long_response_is_left_out(tmp_path):
    write_groups(tmp_path, "samples/step-1.jsonl", [group("a" * 8000 + "b" * 500 + "c" * 8000)])
    text = json.loads(read_groups(tmp_path)[0][0])["responses"][0]["text"]
    assert text == "a" * 8000 + "\n[… 500 characters are left out here …]\n" + "c" * 8000


def test_broken_sample_lines_and_odd_values(tmp_path):
    odd = group(advantage=math.nan)
    odd["responses"][0]["advantage"] = math.nan
    write_groups(tmp_path, "samples/step-1.jsonl", [odd, group("a\u2028b\x85c", None)], tail='[]\n{"id": "q", "resp')
    write_groups(tmp_path, "samples/step-last.jsonl", [group()])
    groups, note = read_groups(tmp_path)
    first, second = map(json.loads, groups)
    assert first["responses"][0]["advantage"] is None
    assert second["responses"][0]["text"] == "a\u2028b\x85c"
    assert note == "unreadable lines: 2"


def test_half_a_surrogate_pair_does_not_stop_the_page(tmp_path):
    make_run(tmp_path)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "step-1.jsonl").write_text(json.dumps(group("half \ud83d")) + "\n")
    (kept,) = Page(build_report(tmp_path)).embedded("group-data")
    assert kept["responses"][0]["text"] == "half \ud83d"
