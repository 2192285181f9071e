"""Whatever is sent, the service has an answer that is no failure of its own."""

import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards.scorer import ScorerConfig
from rewards.service_config import ServiceConfig
from rewards.types import RewardResult
from tests.rewards.serving import open_service

OURS = ("/v1/score", "/v1/score/batch", "/v1/score/stream")
PATHS = (*OURS, "/openrlhf?task=math&unscored=0", "/slime?task=math&unscored=0")
SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
COMMON = ["math", "exact", "\\boxed{7}", "7", "<think>", "\ud800", "\0"]
WORDS = st.one_of(st.text(max_size=20), st.sampled_from(COMMON))


def values(floats):
    return st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), floats, WORDS),
        lambda children: st.one_of(st.lists(children, max_size=4), st.dictionaries(WORDS, children, max_size=4)),
        max_leaves=12,
    )


ANYTHING = values(st.floats())
JSON = values(st.floats(allow_nan=False, allow_infinity=False))
FIELDS = "task question response reference params id requests query prompts labels prompt label"
BODIES = st.one_of(ANYTHING, st.dictionaries(st.sampled_from(FIELDS.split()), ANYTHING, max_size=6))
REQUESTS = st.fixed_dictionaries(
    {"task": st.sampled_from(["math", "exact", "json_schema", "mcq", "no such"]), "response": WORDS},
    optional={"reference": JSON, "params": st.dictionaries(WORDS, JSON, max_size=2), "id": WORDS, "question": WORDS},
)


@pytest.fixture(scope="module")
def client():
    config = ServiceConfig(scorer=ScorerConfig(num_workers=2, timeout_s=5))
    with open_service(config) as (url, _), httpx.Client(base_url=url, timeout=120) as client:
        yield client


def post(client, path, text):
    response = client.post(path, content=text, headers={"Content-Type": "application/json"})
    assert response.status_code in (200, 400, 409, 413, 422), (path, text[:500], response.text[:500])
    return response


@SETTINGS
@given(path=st.sampled_from(PATHS), body=BODIES)
def test_any_json_has_an_answer(client, path, body):
    post(client, path, json.dumps(body))


@SETTINGS
@given(path=st.sampled_from(PATHS), body=st.binary(max_size=100))
def test_any_bytes_have_an_answer(client, path, body):
    post(client, path, body)


@SETTINGS
@given(requests=st.lists(st.one_of(REQUESTS, JSON), max_size=5))
def test_any_batch_has_as_many_results(client, requests):
    text = json.dumps({"requests": requests})
    results = post(client, "/v1/score/batch", text).json()["results"]
    assert len([RewardResult.model_validate(result) for result in results]) == len(requests)
    lines = post(client, "/v1/score/stream", text).text.splitlines()
    assert sorted(json.loads(line)["index"] for line in lines) == list(range(len(requests)))


def test_the_service_is_as_its_schema_says(client):
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.specs.openapi import checks

    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    called = set()

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def check(operation, data):
        case = data.draw(operation.as_strategy())
        response = case.call()
        assert response.status_code != 500, (case.path, case.body)
        as_promised = [checks.status_code_conformance, checks.content_type_conformance]
        case.validate_response(response, checks=[*as_promised, checks.response_schema_conformance])
        called.add(operation.path)

    for operation in schema.get_all_operations():
        check(operation.ok())
    assert called == set(client.get("/openapi.json").json()["paths"])


def test_no_result_ends_a_line_but_at_its_end(client):
    request = {"task": "math", "response": "7", "reference": 7, "a\x85b\u2028c\u2029d": 1}
    (line,) = post(client, "/v1/score/stream", json.dumps({"requests": [request]})).text.splitlines()
    assert "a\x85b\u2028c\u2029d" in json.loads(line)["reason"]
