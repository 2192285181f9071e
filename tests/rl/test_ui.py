"""The page over run folders: what it answers, to whom, and what a hostile run can do to it."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest
import yaml
from fastapi.testclient import TestClient

from rl.sample_rows import scored_rows
from rl.ui import make_app
from rl.ui_command import read_token, serve
from tests.fakes import make_group, make_scored
from tests.rl.test_log import make_log
from tests.rl.test_report import HOSTILE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def make_run(root, name, *, num_rows=3, text="an answer", score=1.0, **config):
    """A run that has not ended, with samples, by the parts that write one."""
    folder = root / name
    folder.mkdir(parents=True)
    content = {"config": {"recipe": "grpo", "model": "package:smollm2", "num_steps": 10} | config, "versions": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    scored = make_scored([score, 0.0])
    object.__setattr__(scored, "group", make_group([text, "wrong"], scored.group.prompt))
    object.__setattr__(scored.rewards[0], "components", {"form": 0.25, HOSTILE: 1.0})
    with make_log(folder) as log:
        for step in range(num_rows):
            log.write(step, {"reward/mean": step / 10, "rollout/staleness_mean": 1.0, "rollout/staleness/1": 2.0})
        log.write_samples(1, scored_rows([scored], [[0.5, -0.5]]))
    return folder


@pytest.fixture
def client(tmp_path):
    make_run(tmp_path, "one")
    make_run(tmp_path, "two", num_rows=12, learner={"lr": 2})
    return TestClient(make_app(tmp_path), base_url="http://127.0.0.1")


def test_the_list_says_how_far_a_run_is(client, tmp_path):
    old = time.time() - 10_000
    os.utime(tmp_path / "one" / "metrics.jsonl", (old, old))
    one, two = client.get("/api/runs").json()
    assert (one["name"], one["recipe"], one["step"], one["num_steps"], one["state"]) == ("one", "grpo", 2, 10, "quiet")
    assert (two["step"], two["state"]) == (11, "complete")
    make_log(tmp_path / "one").write(3, {})
    assert client.get("/api/runs").json()[0]["state"] == "live"


def test_a_poll_gives_what_came_since_the_last(client, tmp_path):
    first = client.get("/api/rows", params={"run": "one"}).json()
    assert [row["step"] for row in first["rows"]] == [0, 1, 2]
    make_log(tmp_path / "one").write(3, {"reward/mean": 0.5})
    second = client.get("/api/rows", params={"run": "one", "after": first["place"]}).json()
    assert [(row["step"], row["reward/mean"]) for row in second["rows"]] == [(3, 0.5)]
    assert not second["is_fresh"]
    assert client.get("/api/rows", params={"run": "one", "after": second["place"]}).json()["rows"] == []


def test_configs_are_compared_by_key(client):
    found = client.get("/api/configs", params={"run": ["one", "two"]}).json()
    assert found == {"runs": ["one", "two"], "lines": {"learner.lr": ["–", "2"]}}


def test_groups_have_every_component(client):
    (file,) = client.get("/api/samples", params={"run": "one"}).json()
    assert (file["step"], file["suite"], file["file"]) == (1, "", "samples/step-1.jsonl")
    page = client.get("/api/groups", params={"run": "one", "file": file["file"], "kind": "mixed"}).json()
    (group,) = page["groups"]
    assert group["responses"][0]["components"] == {"form": 0.25, HOSTILE: 1.0}
    assert group["responses"][0]["advantage"] == 0.5
    source = {"run": "one", "file": file["file"], "at": group["at"]}
    assert client.get("/api/text", params=source | {"response": 1}).text == "wrong"


def test_events_are_shown_the_newest_of_many(client, tmp_path):
    assert client.get("/api/events", params={"run": "one"}).json() == {"events": [], "is_cut": False}
    events = [{"time": 1.5, "step": step, "kind": "engine_lost", "detail": HOSTILE} for step in range(700)]
    (tmp_path / "one" / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"ti')
    found = client.get("/api/events", params={"run": "one"}).json()
    assert found == {"events": events[-500:], "is_cut": True}


@pytest.mark.parametrize("run", ["..", "../one", "/etc", "none", "one/../one", "one/samples"])
@pytest.mark.parametrize("what", ["rows", "events", "samples", "configs", "groups", "text"])
def test_no_name_leads_out(client, what, run):
    answer = client.get(f"/api/{what}", params={"run": run, "file": "samples/step-1.jsonl", "at": 0})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "file", ["config.yaml", "log.txt", "../two/samples/step-1.jsonl", "/etc/passwd", "samples/step-2.jsonl", ""]
)
def test_no_file_but_samples_is_shown(client, tmp_path, file):
    (tmp_path / "one" / "samples" / "step-2.jsonl").symlink_to("/etc/passwd")
    for what in ("groups", "text"):
        assert client.get(f"/api/{what}", params={"run": "one", "file": file, "at": 0}).status_code == 404
    assert len(client.get("/api/samples", params={"run": "one"}).json()) == 1


def test_every_answer_forbids_scripts_of_others(client):
    paths = ["/", "/ui.js", "/ui.css", "/plotly.js", "/api/runs", "/nowhere", "/api/groups?run=one&file=x&at=-1"]
    for path in paths:
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy, path
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    page = client.get("/").text
    assert all('src="' in tag for tag in re.findall(r"<script[^>]*>", page)), "no inline script"
    assert "</script" not in client.get("/ui.js").text


def test_it_answers_to_the_names_of_this_machine_alone(client):
    for host, status in (("127.0.0.1:8322", 200), ("localhost", 200), ("[::1]:8322", 200), ("evil.example", 400)):
        assert client.get("/api/runs", headers={"host": host}).status_code == status, host
    assert client.get("/api/runs", headers={"host": "[bad"}).status_code == 400


def test_it_reads_and_changes_nothing(client):
    for method in ("post", "put", "delete", "patch"):
        assert getattr(client, method)("/api/runs").status_code == 405


def test_a_token_is_the_password(tmp_path):
    client = TestClient(make_app(tmp_path, host="0.0.0.0", token="söcret"), base_url="http://node7")
    assert client.get("/").status_code == 401
    assert client.get("/", auth=("me", "wrong")).status_code == 401
    assert client.get("/", headers={"authorization": "Basic !"}).status_code == 401
    assert client.get("/", headers={"authorization": "Bearer söcret".encode()}).status_code == 401
    assert client.get("/", auth=("me", "söcret".encode())).status_code == 200


def test_other_machines_need_a_token(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"--host: 0.0.0.0 is open .* --token-env, or pass --no-auth"):
        serve(tmp_path, "0.0.0.0", 0, None)
    monkeypatch.setenv("SHARPEN_UI_TOKEN", "secret")
    assert read_token(None) == "secret"
    with pytest.raises(ValueError, match="MISSING is not set"):
        read_token("MISSING")


def test_a_hostile_run_breaks_nothing(tmp_path):
    folder = make_run(tmp_path, "bad\n<b>", text="\ud800" + HOSTILE)
    (folder / "metrics.jsonl").write_text(
        '{"step": 1, "reward/mean": 1e999, "x": "text", "<img src=x onerror=alert(1)>": 1}\n'
        '{"step": null}\n[]\n{"step": "1"}\n{"step": 1e400}\n{"step": 2, "big": ' + "9" * 400 + "}\n"
    )
    (folder / "config.yaml").write_text("config: {a: &a [x, x], b: [*a, *a], c: 2020-01-01, d: .nan, 7: " + "[" * 90)
    (folder / "evals").mkdir()
    (folder / "evals" / "s-step-²-step-².jsonl").write_text("{}")
    (folder / "events.jsonl").write_text('{"detail": ' + "[" * 50 + "]" * 50 + "}\n")
    client = TestClient(make_app(tmp_path), base_url="http://localhost")
    (run,) = client.get("/api/runs").json()
    params = {"run": run["name"], "file": "samples/step-1.jsonl", "at": 0, "response": 0}
    rows = client.get("/api/rows", params=params).json()["rows"]
    assert [row["step"] for row in rows] == [1, 2]
    assert "x" not in rows[0]
    (group,) = client.get("/api/groups", params=params).json()["groups"]
    assert group["responses"][0]["text"] == "\ud800" + HOSTILE
    assert client.get("/api/text", params=params).text.startswith("\\ud800</script>")
    assert client.get("/api/configs", params=params).json()["lines"]["config.yaml"][0].startswith("cannot be read")
    assert len(client.get("/api/events", params=params).json()["events"]) == 1


def test_aliases_that_grow_without_end_are_bounded(tmp_path):
    folder = make_run(tmp_path, "one")
    lines = ["config:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (folder / "config.yaml").write_text("\n".join(lines))
    client = TestClient(make_app(tmp_path), base_url="http://localhost")
    assert len(client.get("/api/configs", params={"run": "one"}).json()["lines"]) == 5000


def test_the_command_serves_and_ends(tmp_path):
    import httpx

    make_run(tmp_path, "one")
    command = [sys.executable, "-m", "rl.cli", "ui", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = process.stderr.readline().split()[-1]
            assert url.startswith("http://127.0.0.1:")
            assert [run["name"] for run in httpx.get(f"{url}/api/runs", trust_env=False).json()] == ["one"]
        finally:
            process.terminate()
        assert process.wait(30) in (0, -15)


@pytest.fixture
def served(tmp_path):
    """The page over runs below `tmp_path`, by uvicorn in a thread."""
    import uvicorn

    from rewards.service_server import bind

    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(make_app(tmp_path), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


def dump(url, folder, wait_ms=6000):
    """What Chromium makes of a page, and what its console said."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    command += [
        f"--user-data-dir={folder}",
        "--enable-logging=stderr",
        f"--virtual-time-budget={wait_ms}",
        "--dump-dom",
    ]
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_draws_curves_and_runs_no_text_of_a_model(tmp_path, served):
    attack = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    first = make_run(tmp_path, "one", text=attack)
    make_run(tmp_path, attack.replace("/", "|"), num_rows=5)
    event = {"time": 0, "step": 1, "kind": attack, "detail": attack}
    (first / "events.jsonl").write_text(json.dumps(event) + "\n")
    (first / "metrics.jsonl").open("a").write(json.dumps({"step": 3, attack: 1.0}) + "\n")
    profile = tmp_path.parent / f"{tmp_path.name}-chromium"
    both = "run=one&run=" + "".join(f"%{byte:02x}" for byte in attack.replace("/", "|").encode())
    for tab, wanted in {
        "curves": ["reward/mean", "rollout/staleness, by age", 'class="main-svg"'],
        "responses": [html.escape(attack, quote=False), "advantage +0.5", "0.25"],
        "events": [html.escape(attack, quote=False)],
        "config": ["Where the configs of 2 runs differ"],
    }.items():
        dom, console = dump(f"{served}/#tab={tab}&{both}", profile)
        assert not console, tab
        assert "<title>owned" not in dom, tab
        assert re.search("<img[^>]*onerror", dom) is None, tab
        for text in wanted:
            assert text in dom, (tab, text)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_follows_a_run_that_goes_on(tmp_path, served):
    folder = make_run(tmp_path, "one")
    log = make_log(folder)
    stop = threading.Event()

    def write() -> None:
        step = 3
        while not stop.wait(0.05):
            log.write(step, {"reward/mean": 0.1234 + step})
            step += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        dom, console = dump(f"{served}/#tab=curves&run=one", tmp_path.parent / f"{tmp_path.name}-chromium", 9000)
    finally:
        stop.set()
        writer.join()
    assert not console
    shown = re.search(r'data-metric="reward/mean".*?class="key"[^>]*>([\d.]+)<', dom)
    assert shown, "the newest value is beside the curve"
    assert float(shown[1]) > 3, "rows after the first answer were drawn"
