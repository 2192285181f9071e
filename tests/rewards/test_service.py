"""The service over real sockets: what it answers, to whom, and what it never does twice."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rewards.scorer import ScorerConfig
from rewards.service_config import ServiceConfig, is_loopback
from rewards.service_server import bind, check_address
from rewards.types import RewardResult
from tests.rewards.serving import PLUGIN, open_service

SEVEN = {"task": "math", "response": "\\boxed{7}", "reference": 7}
SCORER = ScorerConfig(num_workers=2, timeout_s=20, plugins=[PLUGIN])


@pytest.fixture(scope="module")
def url():
    with open_service(ServiceConfig(scorer=SCORER, max_request_mib=1, max_batch=50, read_timeout_s=1)) as (url, _):
        yield url


@pytest.fixture(scope="module")
def client(url):
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def draw(client, identity=None, **more):
    """A request whose score shows whether it was judged anew."""
    return client.post("/v1/score", json={"task": "random_score", "response": "", "id": identity} | more)


def test_one_response_is_judged(client):
    response = client.post("/v1/score", json=SEVEN | {"id": "a"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    result = RewardResult.model_validate_json(response.content)
    assert (result.id, result.score, result.status, result.verifier) == ("a", 1, "ok", "math")
    assert client.post("/v1/score", json=SEVEN | {"response": "\\boxed{8}"}).json()["score"] == 0


def test_a_batch_keeps_its_order_and_survives_its_bad_items(client):
    items = [SEVEN, {"task": "maths", "response": "", "id": "u"}, 7, SEVEN | {"response": "no"}, {"id": "b"}, SEVEN]
    response = client.post("/v1/score/batch", json={"requests": items})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result["score"] for result in results] == [1, None, None, 0, None, 1]
    assert [result["id"] for result in results] == [None, "u", None, None, "b", None]
    assert "did you mean 'math'" in results[1]["reason"]
    assert "task: Field required" in results[4]["reason"]
    assert client.post("/v1/score/batch", json={"requests": []}).json() == {"results": []}


def test_a_stream_gives_each_result_when_it_is_there(client):
    slow = {"task": "random_score", "response": "", "params": {"sleep_s": 1.5}, "id": "slow"}
    with client.stream("POST", "/v1/score/stream", json={"requests": [slow, SEVEN, {}, SEVEN]}) as response:
        assert response.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in response.iter_lines()]
    assert sorted(line["index"] for line in lines) == [0, 1, 2, 3]
    assert (lines[-1]["index"], lines[-1]["id"]) == (0, "slow")
    assert {line["index"]: line["score"] for line in lines[:3]} == {1: 1, 2: None, 3: 1}


def test_an_id_is_judged_once(client):
    first = draw(client, "once").json()
    assert draw(client, "once").json() == first
    assert client.post(
        "/v1/score/batch", json={"requests": [{"task": "random_score", "response": "", "id": "once"}]}
    ).json() == {"results": [first]}
    assert draw(client).json()["score"] != draw(client).json()["score"]


def test_an_id_under_way_is_judged_once(client):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: draw(client, "under way", params={"sleep_s": 1}).json(), range(4)))
    assert len({answer["score"] for answer in answers}) == 1


def test_an_id_with_another_content_is_a_conflict(client):
    assert draw(client, "taken").status_code == 200
    response = draw(client, "taken", response="other")
    assert response.status_code == 409
    items = [{"task": "random_score", "response": "third", "id": "taken"}, SEVEN]
    results = client.post("/v1/score/batch", json={"requests": items}).json()["results"]
    assert [result["score"] for result in results] == [None, 1]
    assert "another content" in results[0]["reason"]


def test_a_failure_is_not_remembered(client, tmp_path):
    item = {"task": "fails_once", "response": str(tmp_path / "flag"), "id": "again"}
    assert client.post("/v1/score", json=item).json()["status"] == "error"
    assert client.post("/v1/score", json=item).json()["score"] == 1


def test_ids_are_forgotten_beyond_the_window():
    config = ServiceConfig(scorer=SCORER, max_batch=2, max_queue=2, remember=2)
    with open_service(config) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        first = draw(client, "1").json()["score"]
        assert draw(client, "2").status_code == 200
        assert draw(client, "1").json()["score"] == first
        assert draw(client, "3").status_code == 200
        assert draw(client, "1").json()["score"] != first


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"not JSON", 400, "not JSON"),
        (b"", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b'{"task": "math", "response": "7", "reference": NaN}', 400, "NaN is not JSON"),
        (b"[" * 100_000, 400, "nested too deep"),
        (b'{"a":' * 100_000, 400, "nested too deep"),
        (b"9" * 5000, 400, "not JSON"),
        (b"[]", 422, '"body"'),
        (b"null", 422, '"body"'),
        (b"{}", 422, '"task"'),
        (b'{"task": "math", "response": 7}', 422, '"response"'),
        (b'{"task": "math", "response": "7", "extra": 7}', 422, '"extra"'),
        (b'{"task": "math", "response": "7", "id": 7}', 422, '"id"'),
        (b'{"task": "mth", "response": "7"}', 422, "did you mean 'math'"),
        (b'{"task": "' + b"x" * 100_000 + b'", "response": "7"}', 422, "unknown task"),
        (b'{"task": "\\ud800", "response": "7"}', 422, "unknown task '?'"),
    ],
)
def test_mistakes_are_named(client, body, status, said):
    response = client.post("/v1/score", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    assert said in response.text
    assert len(response.content) < 10_000, "what was sent is not sent back"


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"requests": {}}', b'{"requests": [], "more": 1}', b'{"requests": 7}']
)
@pytest.mark.parametrize("path", ["/v1/score/batch", "/v1/score/stream"])
def test_a_body_that_is_no_batch_is_a_mistake(client, path, body):
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422


def test_hostile_values_are_results(client):
    nested = 7
    for _ in range(300):
        nested = [nested]
    body = (
        '{"requests": [{"task": "math", "response": "\\ud800 \\\\boxed{7}", "reference": 7, "id": "\\udfff"},'
        '{"task": "math", "response": "\\\\boxed{7}", "reference": 1e999},'
        f'{{"task": "math", "response": "\\\\boxed{{7}}", "reference": {"9" * 4000}}},'
        f'{{"task": "math", "response": "\\\\boxed{{7}}", "reference": {json.dumps(nested)}, "id": "nested"}}]}}'
    )
    response = client.post("/v1/score/batch", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200
    results = response.json()["results"]
    assert (results[0]["id"], results[0]["score"]) == ("?", 1)
    assert [result["status"] in ("error", "unscorable", "ok") for result in results] == [True] * 4
    assert results[3]["score"] is None


def test_only_json_is_read(client):
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        response = client.post("/v1/score", content=json.dumps(SEVEN), headers={"Content-Type": content_type})
        assert response.status_code == 415
    with_charset = {"Content-Type": "application/json; charset=utf-8"}
    assert client.post("/v1/score", content=json.dumps(SEVEN), headers=with_charset).status_code == 200


def test_a_large_body_is_refused_by_its_header_and_while_it_is_read(url):
    large = b" " * (2**20 + 1)

    def parts():
        for _ in range(64):
            yield large[: 2**16]

    with httpx.Client(base_url=url, timeout=60) as client:
        headers = {"Content-Type": "application/json"}
        assert client.post("/v1/score", content=large, headers=headers).status_code == 413
        assert client.post("/v1/score", content=parts(), headers=headers).status_code == 413
        assert client.post("/v1/score/batch", json={"requests": [SEVEN] * 51}).status_code == 413
        assert client.post("/v1/score", json=SEVEN).status_code == 200


def test_a_body_that_does_not_arrive_is_given_up(url):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_a_full_queue_says_when_to_come_back():
    config = ServiceConfig(scorer=SCORER, max_batch=2, max_queue=2, remember=0)
    slow = {"task": "random_score", "response": "", "params": {"sleep_s": 2}}
    with open_service(config) as (url, server), httpx.Client(base_url=url, timeout=60) as client:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.post, "/v1/score/batch", json={"requests": [slow] * 2})
            while server.service.queue.num_open < 2:
                assert not waiting.done()
            refused = client.post("/v1/score", json=SEVEN)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert client.post("/v1/score/batch", json={"requests": [SEVEN]}).status_code == 429
            assert [result["status"] for result in waiting.result().json()["results"]] == ["ok"] * 2
        assert client.post("/v1/score", json=SEVEN).status_code == 200


def test_bodies_that_wait_are_bounded_together():
    config = ServiceConfig(scorer=SCORER, max_request_mib=1, max_queue_mib=1)
    slow = {"task": "random_score", "response": "x" * 700_000, "params": {"sleep_s": 2}}
    with open_service(config) as (url, server), httpx.Client(base_url=url, timeout=60) as client:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.post, "/v1/score", json=slow)
            while server.service.queue.num_open < 1:
                assert not waiting.done()
            refused = client.post("/v1/score", json=slow)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert client.post("/v1/score", json=SEVEN).status_code == 200
            assert waiting.result().json()["status"] == "ok"
        assert client.post("/v1/score", json=slow | {"params": {}}).json()["status"] == "ok"
        assert server.service.metrics.num_bytes == 0


def test_ids_are_forgotten_after_their_time():
    config = ServiceConfig(scorer=SCORER, remember_s=0.5)
    with open_service(config) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        first = draw(client, "1").json()["score"]
        time.sleep(0.6)
        assert draw(client, "1").json()["score"] != first


def test_a_client_that_leaves_does_not_take_the_result_with_it(url):
    with httpx.Client(base_url=url, timeout=0.3) as hasty, pytest.raises(httpx.ReadTimeout):
        draw(hasty, "left", params={"sleep_s": 1})
    with httpx.Client(base_url=url, timeout=60) as client:
        score = draw(client, "left", params={"sleep_s": 1}).json()["score"]
        assert draw(client, "left", params={"sleep_s": 1}).json()["score"] == score


def test_a_client_may_leave_in_the_middle_of_a_stream(url):
    slow = {"task": "random_score", "response": "", "params": {"sleep_s": 1}, "id": "stream"}
    with httpx.Client(base_url=url, timeout=60) as client:
        with client.stream("POST", "/v1/score/stream", json={"requests": [slow, SEVEN]}) as response:
            assert json.loads(next(response.iter_lines()))["index"] == 1
        assert client.post("/v1/score", json=slow).json()["status"] == "ok"
        assert not [key for key in samples(client) if "500" in key]


def test_tasks_probes_and_documentation(client):
    tasks = {task["name"]: task for task in client.get("/v1/tasks").json()}
    assert set(tasks["math"]) == {"name", "description", "params", "example", "version"}
    assert "random_score" in tasks
    assert client.get("/health").json() == {"status": "alive"}
    assert client.get("/ready").json() == {"status": "ready"}
    assert client.get("/docs").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/score", "/v1/score/batch", "/v1/score/stream", "/v1/tasks", "/health", "/ready"} <= set(paths)
    schema = paths["/v1/score"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["required"]) == {"task", "response"}
    assert client.get("/nowhere").status_code == 404


def samples(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_metrics_count_what_was_done(client):
    before = samples(client)
    items = [SEVEN, SEVEN, {"task": "no such task", "response": ""}, {"task": "math", "response": "7"}]
    client.post("/v1/score/batch", json={"requests": items})
    draw(client, "metric")
    draw(client, "metric")
    after = samples(client)

    def grown(*key):
        return after.get(key, 0) - before.get(key, 0)

    assert grown("sharpen_rewards_results_total", "math", "ok") == 2
    assert grown("sharpen_rewards_results_total", "math", "unscorable") == 1
    assert grown("sharpen_rewards_results_total", "error", "unknown") == 1
    assert grown("sharpen_rewards_latency_seconds_count", "math") == 3
    assert grown("sharpen_rewards_repeats_total") == 1
    assert (
        grown("sharpen_rewards_http_responses_total", "/v1/score", "200") == 2
        or grown("sharpen_rewards_http_responses_total", "200", "/v1/score") == 2
    )
    assert after["sharpen_rewards_workers",] == 2
    assert after["sharpen_rewards_in_flight",] == 0
    assert after["sharpen_rewards_queue_depth",] == 0
    assert not [key for key in after if "no such task" in key]


@pytest.mark.parametrize("protect", [False, True])
def test_a_token_opens_what_is_guarded(monkeypatch, protect):
    monkeypatch.setenv("TEST_TOKEN", "secret")
    config = ServiceConfig(scorer=SCORER, token_env="TEST_TOKEN", protect_metrics=protect)
    wrong = [{}, *({"Authorization": value} for value in (b"Bearer wrong", b"Bearer", b"Bearer \xff", b"Basic x"))]
    with open_service(config) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        for headers in wrong:
            assert client.post("/v1/score", json=SEVEN, headers=headers).status_code == 401
            assert client.get("/v1/tasks", headers=headers).status_code == 401
            assert client.get("/health", headers=headers).status_code == 200
            assert client.get("/ready", headers=headers).status_code == 200
            assert client.get("/metrics", headers=headers).status_code == (401 if protect else 200)
        assert client.post("/v1/score", content=b"not JSON").status_code == 401, "nothing is read before the token"
        right = {"Authorization": "Bearer secret"}
        assert client.get("/metrics", headers=right).status_code == 200
        assert client.get("/v1/tasks", headers=right).status_code == 200
        assert client.post("/v1/score", json=SEVEN, headers=right).json()["score"] == 1


def test_a_token_may_be_the_password_in_a_url(monkeypatch):
    monkeypatch.setenv("TEST_TOKEN", "secret")
    with open_service(ServiceConfig(scorer=SCORER, token_env="TEST_TOKEN")) as (url, _):
        with_token = url.replace("http://", "http://any:secret@")
        assert httpx.post(f"{with_token}/v1/score", json=SEVEN, timeout=60).json()["score"] == 1
        without = url.replace("http://", "http://secret:any@")
        assert httpx.post(f"{without}/v1/score", json=SEVEN).status_code == 401


def test_other_machines_need_a_token(monkeypatch):
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "")] == [False] * 5
    with pytest.raises(ValueError, match=r"--host: 0\.0\.0\.0 is open to other machines; name a token"):
        check_address(ServiceConfig(), "0.0.0.0", no_auth=False)
    check_address(ServiceConfig(), "127.0.0.1", no_auth=False)
    check_address(ServiceConfig(), "0.0.0.0", no_auth=True)
    check_address(ServiceConfig(token_env="TEST_TOKEN"), "0.0.0.0", no_auth=False)
    monkeypatch.delenv("TEST_TOKEN", raising=False)
    with pytest.raises(ValueError, match="TEST_TOKEN is not set"):
        ServiceConfig(token_env="TEST_TOKEN").read_token()
    monkeypatch.setenv("TEST_TOKEN", "two words")
    with pytest.raises(ValueError, match="TEST_TOKEN holds more than printable ASCII"):
        ServiceConfig(token_env="TEST_TOKEN").read_token()


def test_an_address_that_is_taken_is_the_users_mistake():
    with bind("127.0.0.1", 0) as taken, pytest.raises(ValueError, match=r"cannot listen on 127\.0\.0\.1"):
        bind("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ValueError, match=r"--port: 99999 is not from 0 to 65535"):
        bind("127.0.0.1", 99_999)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_batch": 9, "max_queue": 8},
        {"max_request_mib": 2, "max_queue_mib": 1},
        {"remember": 5, "max_queue": 8, "max_batch": 8},
        {"no_such": 1},
    ],
)
def test_the_config_is_strict(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        ServiceConfig(**fields)


def test_threads_end_with_the_service():
    with open_service(ServiceConfig(scorer=SCORER)) as (url, server):
        assert httpx.post(f"{url}/v1/score", json=SEVEN, timeout=60).json()["score"] == 1
        assert server.service.queue.is_open
    assert not server.service.queue.is_open
    assert server.service.queue.num_open == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "end of a reward worker"]
