"""Configs: what is wrong is named with its remedy; overrides, resumes and the arithmetic in words."""

import pytest

from rl.budget_curve import parse_budgets
from rl.config import EvaluateConfig
from rl.config_file import check_resumable, find_config, load_config, validate, with_overrides
from rl.launch import read_config, write_config

SMOKE = "configs/smoke/grpo.yaml"


def test_the_shipped_configs_load_and_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("configs/demo/arithmetic.yaml", "configs/demo/general.yaml", SMOKE):
        config = load_config(find_config(name))
        assert config.recipe == "grpo"


def test_the_shipped_rl_of_a_mixture_of_experts_names_gspo():
    assert load_config("configs/smoke/moe_grpo.yaml").loss.name == "gspo"
    assert load_config("configs/smoke/moe.yaml").learner.load_balancing == 1e-3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_stpes=3", r"num_stpes: unknown key; did you mean 'num_steps'\?"),
        ("learner.optimizer.lrr=3", r"learner\.optimizer\.lrr: unknown key; did you mean 'lr'\?"),
        ("loss.kl.cofficient=1", r"loss\.kl\.cofficient: unknown key; did you mean 'coefficient'\?"),
        ("engine.zzz=1", r"engine\.zzz: unknown key; known are batch_invariant, cores"),
        ("evals=[{suite: arithmetic, sampels_per_prompt: 3}]", r"did you mean 'samples_per_prompt'\?"),
        ("num_steps=0", r"num_steps: Input should be greater than 0 \(got 0\)"),
        ("learner.zero_stage=7", r"learner\.zero_stage: .* \(got 7\)"),
        ("sampling.top_p=0.9", r"sampling\.top_p must be off \(1\) in training"),
        ("sampling.top_k=20", r"sampling\.top_k must be off \(-1\) in training"),
        ("sampling.min_p=0.1", r"sampling\.min_p must be off \(0\) in training"),
        ("sampling.presence_penalty=1.5", r"sampling\.presence_penalty must be off \(0\) in training"),
        ("evals=[{suite: aime24, path: a.jsonl}]", "suite aime24 samples up to 38912 tokens, which leaves no room"),
        ("sampling.temperature=0", "greedy samples of one prompt are all alike"),
        ("overlong_cache_tokens=99", r"overlong_cache_tokens must be below sampling\.max_tokens"),
        ("loss.name=gpro", "unknown policy loss 'gpro': known are cispo, grpo, gspo"),
        ("sampling.max_tokens=256", "leaves no room for a prompt in engine.max_context_tokens = 256"),
        ("evals=[{suite: arithmetic, sampling: {temprature: 1}}]", r"evals\.0\.sampling\.temprature: .*'temperature'"),
        ("prompts.sources.0.pth=x", r"prompts\.sources\.0\.pth: unknown key; did you mean 'path'\?"),
        ("prompts.sources.3.path=x", "list index out of range"),
        ("num_steps={a", "while parsing a flow mapping"),
        ("num_steps=", r"num_steps: Input should be a valid integer \(got None\)"),
        ("=3", r"override '=3' is not of the form key\.path=value"),
        ("model=${nothing}", "Interpolation key 'nothing' not found"),
        ("max_draws_per_step=3", "max_draws_per_step must be at least groups_per_step"),
        ("recipe=[grpo]", r"recipe: unknown \['grpo'\]"),
        ("nonsense", r"override 'nonsense' is not of the form key\.path=value"),
        ("group_filters=[zero_varience]", "group_filters: unknown 'zero_varience'; did you mean 'zero_variance'"),
        ("reward_statistics=running", "no combination in rewards.combine has a preference to be normalised"),
        ("rewards.combine.math.rule.wieght=1", r"rewards\.combine\.math\.rule\.wieght: unknown key"),
        ("rewards.combine.mth={}", r"rewards: .*combine\.mth: unknown task 'mth'; did you mean 'math'\?"),
        ("recipe=grop", "recipe: unknown 'grop'; known are .*grpo"),
        ("prompts.sources.0.thinking_budget=64", r"engine\.thinking_budget must be true"),
        ("evals=[{suite: arithmetic, thinking_budgets: [64]}]", r"engine\.thinking_budget must be true"),
    ],
)
def test_a_fault_is_named_with_its_remedy(override, message):
    with pytest.raises(ValueError, match=message):
        load_config(find_config(SMOKE), [override])


def test_overrides_reach_nested_fields_and_keep_the_rest():
    config = load_config(find_config(SMOKE), ["learner.optimizer.lr=0.5", "num_steps=7", "loss.name=gspo"])
    assert (config.learner.optimizer.lr, config.learner.dtype, config.num_steps) == (0.5, "float32", 7)
    assert (config.loss.aggregation, config.loss.clip_high) == ("sequence_mean", 4e-4)


def test_a_resume_may_change_the_end_but_not_the_run():
    old = load_config(find_config(SMOKE))
    check_resumable(old, load_config(find_config(SMOKE), ["num_steps=9", "checkpoint.keep=5", "log.dir=elsewhere"]))
    changed = r"learner\.optimizer\.lr \(0\.001 -> 1\.0\), seed \(0 -> 4\) changed since .* only checkpoint, evals"
    with pytest.raises(ValueError, match=changed):
        check_resumable(old, load_config(find_config(SMOKE), ["seed=4", "learner.optimizer.lr=1"]))


def test_the_batch_arithmetic_is_said_in_words():
    text = load_config(find_config(SMOKE), ["learner.updates_per_step=2", "max_staleness=3"]).in_words()
    assert "8 prompts a step x 8 samples a prompt = 64 sequences a step" in text
    assert "up to 3 steps old" in text
    assert "2 optimizer updates a step, about 32 sequences each" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "model: Field required"),
        (b"3", "Invalid loaded object type"),
        (b"a:\tb\n\t- c", "cannot start any token"),
        (b"\xff\xfe\x00", "can't decode byte 0xff"),
        (b"num_steps: 3\nnum_steps: 4\n", "found duplicate key num_steps"),
        (b"[1, 2]", "bad.yaml"),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_bytes(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_config(tmp_path / "bad.yaml")
    assert str(tmp_path / "bad.yaml") in str(caught.value)


def test_a_config_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"no config nowhere\.yaml"):
        find_config("nowhere.yaml")


def test_overrides_reach_into_lists_and_later_ones_win():
    overrides = ["prompts.sources.0.options.add_up_to=9", "prompts.sources.0.task=math_int", "seed=1", "seed=2"]
    config = load_config(find_config(SMOKE), overrides)
    (source,) = config.prompts.sources
    assert (source.task, source.options, config.seed) == ("math_int", {"add_up_to": 9, "multiply_up_to": 3}, 2)


def test_an_override_may_be_a_mapping_a_list_or_hold_an_equals_sign():
    overrides = [
        "engine={cores: '3'}",
        "group_filters=[zero_variance]",
        "prompts.sources.0.template='a=b {question}'",
    ]
    config = load_config(find_config(SMOKE), overrides)
    assert (config.engine.cores, config.engine.max_context_tokens) == ("3", 256), "the rest of a mapping stays"
    assert config.group_filters == ["zero_variance"]
    assert config.prompts.sources[0].template == "a=b {question}"


@pytest.mark.parametrize("name", ["configs/demo/arithmetic.yaml", SMOKE])
def test_the_config_in_a_run_folder_is_the_same_config(tmp_path, name):
    config = load_config(find_config(name))
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config
    check_resumable(read_config(tmp_path), config)


def test_a_resume_names_what_changed_inside_a_list():
    old = load_config(find_config(SMOKE))
    new = load_config(find_config(SMOKE), ["prompts.sources.0.options.add_up_to=9", "max_staleness=1"])
    with pytest.raises(
        ValueError, match=r"max_staleness \(0 -> 1\), prompts\.sources\.0\.options\.add_up_to \(4 -> 9\)"
    ):
        check_resumable(old, new)


def test_the_arithmetic_of_the_demo_holds_its_numbers():
    text = load_config(find_config("configs/demo/arithmetic.yaml")).in_words()
    assert (
        "8 prompts a step x 8 samples a prompt = 64 sequences a step of up to 32 tokens, always of the newest" in text
    )
    assert "40 steps = 2560 sequences in all" in text


def test_an_evaluation_with_budgets_has_engines_that_take_them():
    values = {"model": "m", "evals": [{"suite": "arithmetic"}]}
    override = with_overrides(values, ["evals.0.thinking_budgets=[64,128]"], "eval")
    config = validate(EvaluateConfig, override, "eval")
    assert (config.engine.thinking_budget, config.evals[0].thinking_budgets) == (True, [64, 128])
    assert not validate(EvaluateConfig, values, "eval").engine.thinking_budget
    assert parse_budgets("64,128") == [64, 128]
    with pytest.raises(ValueError, match="--budgets: numbers of tokens are wanted"):
        parse_budgets("64;128")


@pytest.mark.parametrize("recipe", ["sft", "distill"])
def test_a_recipe_with_evaluations_says_at_once_that_its_engines_take_no_budget(recipe):
    override = ["evals=[{suite: arithmetic, thinking_budgets: [64]}]"]
    with pytest.raises(ValueError, match=r"engine\.thinking_budget must be true"):
        load_config(f"configs/smoke/{recipe}.yaml", override)
    assert load_config(f"configs/smoke/{recipe}.yaml", [*override, "engine.thinking_budget=true"]).evals
