"""The remote-reward protocols of OpenRLHF and slime, with the calls that their clients make."""

import asyncio
import json

import aiohttp
import httpx
import pytest

from rewards.scorer import ScorerConfig
from rewards.service_config import ServiceConfig
from rewards.service_protocols import END_MARKS, cut_response, read_label
from tests.rewards.serving import PLUGIN, open_service

PROMPT = "<|im_start|>user\n3 + 4?<|im_end|>\n<|im_start|>assistant\n"
RIGHT, WRONG = (PROMPT + f"\\boxed{{{n}}}<|im_end|>" for n in (7, 8))
LABEL = json.dumps({"task": "math", "reference": 7})


@pytest.fixture(scope="module")
def url():
    config = ServiceConfig(scorer=ScorerConfig(num_workers=1, timeout_s=20, plugins=[PLUGIN]), max_batch=4)
    with open_service(config) as (url, _):
        yield url


def openrlhf(url, query, prompts, labels, **params):
    body = {"query": query, "prompts": prompts, "labels": labels}
    return httpx.post(f"{url}/openrlhf", json=body, params=params, timeout=60)


async def post_as_their_clients_do(url, payload):
    """Both: aiohttp, `raise_for_status`, then the JSON of the body by its content type."""
    async with aiohttp.ClientSession() as session, session.post(url, json=payload) as response:
        response.raise_for_status()
        return await response.json()


async def test_openrlhf_gets_lists_for_lists(url):
    payload = {"query": [RIGHT, WRONG], "prompts": [PROMPT] * 2, "labels": [LABEL, LABEL]}
    answer = await post_as_their_clients_do(f"{url}/openrlhf", payload)
    assert answer["rewards"] == answer["scores"] == [1, 0]
    assert answer["extra_logs"]["scored"] == [1, 1]
    assert {name: len(values) for name, values in answer["extra_logs"].items()} == {"scored": 2, "ms": 2}


def test_openrlhf_gets_a_number_for_a_text(url):
    answer = openrlhf(url, RIGHT, PROMPT, LABEL).json()
    assert (answer["rewards"], answer["scores"], answer["extra_logs"]["scored"]) == (1, 1, 1)


@pytest.mark.parametrize(
    "label", ["7", 7, LABEL, json.loads(LABEL), '{"reference": 7}', {"params": {}, "reference": "7"}]
)
def test_a_label_is_an_object_or_a_reference(url, label):
    assert openrlhf(url, [RIGHT], [PROMPT], [label], task="math").json()["rewards"] == [1]


def test_older_clients_send_queries_alone(url):
    body = {"query": ["\\boxed{7}"], "labels": ["7"], "prompts": None, "metas": [{}]}
    response = httpx.post(f"{url}/openrlhf?task=math", json=body, timeout=60)
    assert response.json()["rewards"] == [1]


def test_the_end_mark_is_not_part_of_the_response(url):
    query, label = PROMPT + "Paris<|im_end|>", {"task": "exact", "reference": "Paris"}
    assert openrlhf(url, [query], [PROMPT], [label]).json()["rewards"] == [1]
    assert openrlhf(url, [PROMPT + "Paris<END>"], [PROMPT], [label], end="<END>").json()["rewards"] == [1]


def test_the_response_is_what_follows_the_prompt():
    assert cut_response("<s>" + RIGHT, PROMPT, END_MARKS) == "\\boxed{7}"
    assert cut_response(PROMPT + "a</s></s>", PROMPT, END_MARKS) == "a</s>", "one mark, the rest is the model's"
    assert cut_response(PROMPT + PROMPT, PROMPT, END_MARKS) == PROMPT
    assert cut_response("alone", "", END_MARKS) == "alone"
    for query in ("cut short?\nanswer", "x" * 100 + PROMPT):
        with pytest.raises(ValueError, match="does not begin with its prompt"):
            cut_response(query, PROMPT, END_MARKS)


@pytest.mark.parametrize(
    ("label", "reference"),
    [
        ('{"type": "object"}', '{"type": "object"}'),
        ({"type": "object"}, {"type": "object"}),
        ("{broken", "{broken"),
        ("{" * 100_000, "{" * 100_000),
        ('{"reference": NaN}', '{"reference": NaN}'),
        ("{}", "{}"),
        (None, None),
        ([1], [1]),
    ],
)
def test_what_is_no_label_of_ours_is_a_reference(label, reference):
    request = read_label(label, "math", response="")
    assert (request.task, request.reference) == ("math", reference)


@pytest.mark.parametrize(
    ("query", "prompts", "labels", "said"),
    [
        ([RIGHT], [PROMPT], ["7"], "names no task"),
        ([RIGHT], [PROMPT], [{"task": "mth"}], "did you mean 'math'"),
        ([RIGHT], [PROMPT], [{"task": 7}], '"task"'),
        ([RIGHT, RIGHT], [PROMPT], [LABEL], "2 queries, 1 prompts"),
        (["cut short"], [PROMPT], [LABEL], "does not begin with its prompt"),
        (7, PROMPT, LABEL, '"query"'),
    ],
)
def test_openrlhf_mistakes_are_named(url, query, prompts, labels, said):
    response = openrlhf(url, query, prompts, labels)
    assert response.status_code == 422
    assert said in response.text
    assert openrlhf(url, [RIGHT] * 5, [PROMPT] * 5, [LABEL] * 5).status_code == 413


@pytest.mark.parametrize("filled", [0.0, -1.5])
def test_a_response_without_a_score_fails_loudly_or_has_the_callers_number(url, filled):
    unscorable = json.dumps({"task": "math", "reference": None})
    response = openrlhf(url, [RIGHT, RIGHT], [PROMPT] * 2, [LABEL, unscorable])
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "1 of 2 responses could not be scored" in response.text
    answer = openrlhf(url, [RIGHT, RIGHT], [PROMPT] * 2, [LABEL, unscorable], unscored=filled).json()
    assert (answer["rewards"], answer["extra_logs"]["scored"]) == ([1, filled], [1, 0])
    slime = {"prompt": "?", "response": "\\boxed{7}", "label": unscorable}
    assert httpx.post(f"{url}/slime", json=slime, timeout=60).status_code == 503
    assert httpx.post(f"{url}/slime?unscored={filled}", json=slime, timeout=60).json() == filled
    assert httpx.post(f"{url}/slime?unscored=nan", json=slime, timeout=60).status_code == 422


@pytest.mark.parametrize("prompt", ["3 + 4?", [{"role": "user", "content": "3 + 4?"}]])
async def test_slime_gets_a_bare_number(url, prompt):
    payload = {"prompt": prompt, "response": "\\boxed{7}", "label": "7"}
    assert await post_as_their_clients_do(f"{url}/slime?task=math", payload) == 1
    wrong = payload | {"label": {"task": "math", "reference": 8}}
    assert await post_as_their_clients_do(f"{url}/slime", wrong) == 0


async def test_slime_may_get_the_whole_result(url):
    payload = {"prompt": "", "response": "\\boxed{7}", "label": "7"}
    answer = await post_as_their_clients_do(f"{url}/slime?task=math&detail=true", payload)
    assert (answer["score"], answer["status"], answer["extracted"]) == (1, "ok", "7")


def test_slime_mistakes_are_named(url):
    assert httpx.post(f"{url}/slime", json={"response": "", "label": "7"}).status_code == 422
    response = httpx.post(f"{url}/slime?task=math", json={"label": "7"})
    assert response.status_code == 422
    assert '"response"' in response.text


# What follows replays the clients as they are: OpenRLHF's SingleTurnAgentExecutor (openrlhf/utils/agent.py) and slime's
# remote_rm (slime/rollout/rm_hub): payload, retries, and which fields of the answer they read.


class OpenRlhfClient:
    """A sample a call in lists of one, split over the servers; five attempts; what it stores for a sample."""

    def __init__(self, *endpoints: str) -> None:
        self.endpoints = endpoints
        self.num_attempts = 0

    async def post(self, url: str, payload: dict) -> dict:
        for _ in range(5):
            self.num_attempts += 1
            try:
                return await post_as_their_clients_do(url, payload)
            except aiohttp.ClientError:
                continue
        raise RuntimeError("Request error for 5 times")

    async def fetch(self, queries: list, prompts: list, labels: list) -> list[dict]:
        size = -(-len(queries) // len(self.endpoints))
        parts = [slice(n * size, (n + 1) * size) for n in range(len(self.endpoints))]
        payloads = [{"query": queries[part], "prompts": prompts[part], "labels": labels[part]} for part in parts]
        calls = (self.post(url, payload) for url, payload in zip(self.endpoints, payloads, strict=True))
        return await asyncio.gather(*calls)

    async def sample(self, query: str, prompt: str, label) -> dict:
        (info,) = await self.fetch([query], [prompt], [label])
        scores, logs = info.get("scores") or info.get("rewards"), info.get("extra_logs") or {}
        return {"reward": info.get("rewards"), "scores": scores, "extra_logs": logs}


@pytest.mark.parametrize(
    ("lead", "prompt", "end"),
    [
        ("", PROMPT, "<|im_end|>"),
        ("", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n3 + 4?<|eot_id|>", "<|eot_id|>"),
        ("<s>", "[INST] 3 + 4? [/INST]", "</s>"),
        ("", "<start_of_turn>user\n3 + 4?<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>"),
        ("", "<|user|>3 + 4?<|end|><|assistant|>", "<|end|>"),
        ("", PROMPT, ""),
    ],
    ids=["ChatML", "Llama 3", "Mistral", "Gemma", "Phi", "cut off by the limit"],
)
@pytest.mark.parametrize(("answer", "score"), [("<think>7 or 8?</think>\\boxed{7}", 1.0), ("\\boxed{8}", 0.0)])
async def test_openrlhfs_executor_gets_the_reward_of_its_sample(url, lead, prompt, end, answer, score):
    stored = await OpenRlhfClient(f"{url}/openrlhf?task=math").sample(lead + prompt + answer + end, prompt, "7")
    assert (stored["reward"], stored["scores"]) == ([score], [score]), "a 0 is a score, too"
    assert all(isinstance(values, list) and len(values) == 1 for values in stored["extra_logs"].values())


async def test_openrlhf_splits_a_batch_over_its_servers(url):
    client = OpenRlhfClient(f"{url}/openrlhf?task=math", f"{url}/openrlhf?task=math")
    infos = await client.fetch([RIGHT, WRONG, RIGHT], [PROMPT] * 3, ["7"] * 3)
    assert [info["rewards"] for info in infos] == [[1, 0], [1]]


async def test_openrlhf_without_a_label_column_gets_a_number_only_where_it_names_one(url):
    client = OpenRlhfClient(f"{url}/openrlhf?task=math")
    with pytest.raises(RuntimeError, match="5 times"):
        await client.sample(RIGHT, PROMPT, "")  # what its data set gives without --label_key
    assert client.num_attempts == 5
    stored = await OpenRlhfClient(f"{url}/openrlhf?task=math&unscored=0").sample(RIGHT, PROMPT, "")
    assert (stored["reward"], stored["extra_logs"]["scored"]) == ([0], [0])


@pytest.mark.parametrize(
    "prompt",
    [
        PROMPT,
        [{"role": "system", "content": "Answer in a box."}, {"role": "user", "content": "3 + 4?"}],
        [{"role": "user", "content": [{"type": "text", "text": "3 + 4?"}]}],
    ],
    ids=["templated", "messages", "parts"],
)
@pytest.mark.parametrize("label", ["7", LABEL], ids=["reference", "object"])
async def test_slimes_remote_rm_gets_the_reward_of_its_sample(url, prompt, label):
    payload = {"prompt": prompt, "response": "<think>7</think>\\boxed{7}<|im_end|>", "label": label}
    assert await post_as_their_clients_do(f"{url}/slime?task=math", payload) == 1.0


async def test_slime_keeps_the_end_mark_in_a_response_and_it_is_no_part_of_the_answer(url):
    """Its sampler asks SGLang for special tokens and for the stop, unless --rollout-skip-special-tokens is given."""
    payload = {"prompt": PROMPT, "response": "Paris<|im_end|>", "label": "Paris"}
    assert await post_as_their_clients_do(f"{url}/slime?task=exact", payload) == 1.0
    payload["response"] = "Paris<END>"
    assert await post_as_their_clients_do(f"{url}/slime?task=exact", payload) == 0.0
    assert await post_as_their_clients_do(f"{url}/slime?task=exact&end=<END>", payload) == 1.0


async def test_slime_without_a_label_is_told_by_503_and_tries_again(url):
    payload = {"prompt": PROMPT, "response": "\\boxed{7}", "label": None}
    with pytest.raises(aiohttp.ClientResponseError) as raised:
        await post_as_their_clients_do(f"{url}/slime?task=math", payload)
    assert raised.value.status == 503
