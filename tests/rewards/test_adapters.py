"""The adapters in the hands of the trainers that call them."""

import asyncio
import pickle
import subprocess
import sys

import numpy as np
import psutil
import pytest

from rewards.adapters.background import AdapterConfig, BackgroundScorer, Unscored, plain, shared_scorer
from rewards.adapters.trl import SharpenReward, read_completion
from rewards.adapters.verl import compute_score, compute_score_async
from rewards.scorer import ScorerConfig
from rewards.service_config import ServiceConfig
from rewards.types import RewardRequest
from tests.rewards.serving import PLUGIN, open_service
from tests.rewards.verl_examples import FIELDS, verl_config, verl_data

SEVEN = RewardRequest(task="math", response="\\boxed{7}", reference=7)
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 3, "b": 4}}}
OPTIONS = {"scorer": {"num_workers": 1, "plugins": [PLUGIN]}}


@pytest.fixture(scope="module", params=["in process", "by URL"])
def options(request):
    if request.param == "in process":
        yield OPTIONS
        return
    with open_service(ServiceConfig(scorer=ScorerConfig(plugins=[PLUGIN]))) as (url, _):
        yield {"url": url}


def test_verls_fields_are_a_request(options):
    assert compute_score("math", "\\boxed{7}", "7", **options) == {"score": 1, "acc": 1, "scored": 1}
    assert compute_score("openai/gsm8k", "\\boxed{8}", "7", {"task": "math"}, **options)["score"] == 0
    assert compute_score("openai/gsm8k", "\\boxed{7}", np.array(["7", "8"]), {}, task="math", **options)["score"] == 1
    lenient = {"params": {"extract": "lenient"}, "num_turns": None}
    assert compute_score("math", "so it is 7", "7", lenient, **options)["score"] == 1
    assert compute_score("math", "so it is 7", "7", {}, **options)["score"] == 0


async def test_verls_fields_are_a_request_on_an_event_loop(options):
    answers = await asyncio.gather(
        *(compute_score_async("math", f"\\boxed{{{n}}}", "7", {}, **options) for n in range(6, 9))
    )
    assert [answer["score"] for answer in answers] == [0, 1, 0]


def test_what_could_not_be_scored_fails_loudly_or_has_the_users_number(options):
    with pytest.raises(Unscored, match=r"math: unscorable: .*reference"):
        compute_score("math", "\\boxed{7}", None, **options)
    answer = compute_score("math", "\\boxed{7}", None, unscored=-1, **options)
    assert answer == {"score": -1, "acc": -1, "scored": 0}


def test_mistakes_of_the_user_are_named(options):
    with pytest.raises(ValueError, match="unknown task 'openai/gsm8k'"):
        compute_score("openai/gsm8k", "", "7", **options)
    with pytest.raises(ValueError, match="no_such_option"):
        compute_score("math", "", "7", no_such_option=1, **options)


def test_trl_gets_numbers_and_none(options):
    reward = SharpenReward("math", reference="solution", **options)
    prompts = ["?"] * 3
    scores = reward(prompts=prompts, completions=["\\boxed{7}", "\\boxed{8}", ""], solution=["7", "7", None])
    assert scores == [1, 0, None]
    assert reward.__name__ == "sharpen_math"
    filled = SharpenReward("math", reference="solution", unscored=0.5, **options)
    assert filled(prompts=["?"], completions=["\\boxed{7}"], solution=[None]) == [0.5]


def test_trl_rows_may_name_their_task_and_params(options):
    reward = pickle.loads(pickle.dumps(SharpenReward(params={"extract": "lenient"}, **options)))
    messages = [[{"role": "user", "content": "?"}]] * 2
    completions = [[{"role": "assistant", "content": "it is 7"}]] * 2
    logged = {}
    scores = reward(
        prompts=messages,
        completions=completions,
        completion_ids=[[1], [1]],
        task=["math", "math"],
        reference=["7", "7"],
        params=[None, {"extract": "boxed"}],
        log_metric=logged.__setitem__,
        trainer_state=object(),
    )
    assert scores == [1, 0]
    assert logged == {"sharpen/unscored_rate": 0}


def test_trl_completions_keep_their_calls_and_their_thinking(options):
    call = {"role": "assistant", "content": "", "reasoning_content": "add them", "tool_calls": [CALL]}
    expected = [{"name": "add", "arguments": {"a": 3, "b": 4}}]
    reward = SharpenReward("tool_call", **options)
    assert reward(prompts=["?"] * 2, completions=[[call], [call | {"tool_calls": []}]], reference=[expected] * 2) == [
        1,
        0,
    ]
    reward = SharpenReward("think_format", **options)
    thought = {"role": "assistant", "content": "7", "reasoning_content": "3 + 4"}
    bare = {"role": "assistant", "content": "7"}
    assert reward(prompts=["?"] * 2, completions=[[thought], [bare]], reference=[None] * 2) == [1, 0]


def test_trl_columns_that_are_missing_are_named(options):
    with pytest.raises(ValueError, match="no column 'reference'; name it by reference=, of: answer"):
        SharpenReward("math", **options)(prompts=["?"], completions=[""], answer=["7"])
    with pytest.raises(ValueError, match="no task"):
        SharpenReward(**options)(prompts=["?"], completions=[""], reference=["7"])


@pytest.mark.parametrize(
    ("completion", "response"),
    [
        ("text", "text"),
        ([{"role": "assistant", "content": "text"}], "text"),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "assistant", "content": [{"type": "text", "text": "te"}, {"type": "text", "text": "xt"}]}], "text"),
        ([{"role": "assistant"}, {"role": "tool"}], [{"role": "assistant"}, {"role": "tool"}]),
        ([{"role": "assistant", "content": "7", "reasoning_content": "3 + 4"}], "<think>\n3 + 4\n</think>\n\n7"),
        ([{"role": "assistant", "content": None, "reasoning_content": "hm"}], "<think>\nhm\n</think>\n\n"),
        ([{"role": "assistant", "content": "7", "reasoning_content": None, "tool_calls": []}], "7"),
        (
            [{"role": "assistant", "content": "", "tool_calls": [CALL]}],
            [{"role": "assistant", "content": "", "tool_calls": [CALL]}],
        ),
        (
            [
                {"role": "assistant", "content": "", "reasoning_content": "add", "tool_calls": [CALL]},
                {"role": "tool", "content": "7"},
                {"role": "assistant", "content": "7", "reasoning_content": "so"},
            ],
            [
                {"role": "assistant", "content": "<think>\nadd\n</think>\n\n", "tool_calls": [CALL]},
                {"role": "tool", "content": "7"},
                {"role": "assistant", "content": "<think>\nso\n</think>\n\n7"},
            ],
        ),
    ],
)
def test_completions_are_read_in_each_form(completion, response):
    assert read_completion(completion) == response


def test_plain_data():
    assert plain({"a": np.array([1, 2]), 2: np.float32(0.5), "c": (None, "x")}) == {
        "a": [1, 2],
        "2": 0.5,
        "c": [None, "x"],
    }


def test_one_scorer_a_process_and_configuration():
    first = shared_scorer(AdapterConfig.model_validate(OPTIONS))
    assert shared_scorer(AdapterConfig.model_validate(OPTIONS)) is first
    assert shared_scorer(AdapterConfig.model_validate(OPTIONS | {"unscored": 0})) is not first


def test_a_wait_has_a_limit_and_names_what_it_waited_for():
    scorer = BackgroundScorer(AdapterConfig.model_validate(OPTIONS | {"limit_s": 0.5}))
    slow = RewardRequest(task="random_score", response="", params={"sleep_s": 3})
    with pytest.raises(TimeoutError, match=r"no scores from this process's workers within 0\.5 s"):
        scorer.score([slow])
    scorer.close()
    assert scorer.has_ended


def test_a_script_ends_by_itself_and_takes_its_workers_along(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import psutil\nfrom rewards.adapters.verl import compute_score\n"
        "if __name__ == '__main__':\n"
        "    assert compute_score('math', '\\\\boxed{7}', '7')['score'] == 1\n"
        "    print(*[child.pid for child in psutil.Process().children(recursive=True)])\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    children = [psutil.Process(pid) for pid in map(int, done.stdout.split()) if psutil.pid_exists(pid)]
    assert not psutil.wait_procs(children, timeout=30)[1]


@pytest.mark.parametrize("name", ["compute_score", "compute_score_async"])
async def test_verls_reward_loop_calls_the_function_its_config_names(tiny_model, options, name):
    loop = pytest.importorskip("verl.experimental.reward_loop.reward_loop")
    function = {"path": "pkg://rewards.adapters.verl", "name": name, "reward_kwargs": options}
    worker = loop.RewardLoopWorker(verl_config(tiny_model, custom_reward_function=function))
    data = verl_data(worker.input_tokenizer, ["\\boxed{7}", "\\boxed{8}"], **FIELDS)
    answers = await worker.compute_score_batch(data)
    assert [answer["reward_score"] for answer in answers] == [1, 0]
    assert [answer["reward_extra_info"]["scored"] for answer in answers] == [1, 1]


async def test_verls_reward_loop_runs_our_manager(tiny_model, options):
    loop = pytest.importorskip("verl.experimental.reward_loop.reward_loop")
    manager = {"source": "importlib", "name": "SharpenRewardManager", "module": {"path": "pkg://rl.verl_plugin"}}
    config = verl_config(tiny_model, reward_manager=manager, sharpen={"unscored": -1} | options)
    worker = loop.RewardLoopWorker(config)
    data = verl_data(worker.input_tokenizer, ["\\boxed{7}", "\\boxed{8}"], **FIELDS)
    answers = await worker.compute_score_batch(data)
    assert [answer["reward_score"] for answer in answers] == [1, 0]
    unscorable = FIELDS | {"reward_model": {"ground_truth": None}}
    (answer,) = await worker.compute_score_batch(verl_data(worker.input_tokenizer, ["7"], **unscorable))
    assert (answer["reward_score"], answer["reward_extra_info"]) == (-1, {"acc": -1, "scored": 0})


async def test_our_manager_asks_again_before_it_gives_up(tiny_model, tmp_path):
    loop = pytest.importorskip("verl.experimental.reward_loop.reward_loop")
    manager = {"source": "importlib", "name": "SharpenRewardManager", "module": {"path": "pkg://rl.verl_plugin"}}
    worker = loop.RewardLoopWorker(
        verl_config(tiny_model, reward_manager=manager, sharpen={"task": "fails_once"} | OPTIONS)
    )
    (answer,) = await worker.compute_score_batch(verl_data(worker.input_tokenizer, [str(tmp_path / "f")], **FIELDS))
    assert answer["reward_score"] == 1
    worker = loop.RewardLoopWorker(
        verl_config(tiny_model, reward_manager=manager, sharpen={"task": "fails_once", "num_attempts": 1} | OPTIONS)
    )
    with pytest.raises(Unscored, match="RuntimeError: not yet"):
        await worker.compute_score_batch(verl_data(worker.input_tokenizer, [str(tmp_path / "g")], **FIELDS))


def test_verls_older_manager_calls_the_function(tiny_model, options):
    managers = pytest.importorskip("verl.workers.reward_manager.naive")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)

    def function(**fields):
        return compute_score(**fields, **options)

    manager = managers.NaiveRewardManager(tokenizer, num_examine=0, compute_score=function)
    data = verl_data(tokenizer, ["\\boxed{7}", "\\boxed{8}"], **FIELDS)
    answer = manager(data, return_dict=True)
    assert answer["reward_tensor"].sum(dim=1).tolist() == [1, 0]
    assert answer["reward_extra_info"]["scored"] == [1, 1]
