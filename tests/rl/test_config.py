import pytest

from rl.config import batch_arithmetic, check_resumable, find_config, load_config

SMOKE = "configs/smoke/grpo.yaml"


def test_the_shipped_configs_load_and_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("configs/demo/arithmetic.yaml", SMOKE):
        config = load_config(find_config(name))
        assert config.recipe == "grpo"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_stpes=3", r"num_stpes: unknown key; did you mean 'num_steps'\?"),
        ("learner.optimizer.lrr=3", r"learner\.optimizer\.lrr: unknown key; did you mean 'lr'\?"),
        ("loss.kl.cofficient=1", r"loss\.kl\.cofficient: unknown key; did you mean 'coefficient'\?"),
        ("engine.zzz=1", r"engine\.zzz: unknown key; known are cores, dtype"),
        ("evals=[{suite: arithmetic, sampels_per_prompt: 3}]", r"did you mean 'samples_per_prompt'\?"),
        ("num_steps=0", r"num_steps: Input should be greater than 0 \(got 0\)"),
        ("learner.zero_stage=7", r"learner\.zero_stage: .* \(got 7\)"),
        ("sampling.top_p=0.9", r"top_p and sampling\.top_k must be off"),
        ("sampling.temperature=0", "greedy samples of one prompt are all alike"),
        ("overlong_cache_tokens=99", r"overlong_cache_tokens must be below sampling\.max_tokens"),
        ("loss.name=gpro", "unknown policy loss 'gpro': known are cispo, grpo, gspo"),
        ("nonsense", r"override 'nonsense' is not of the form key\.path=value"),
        ("group_filters=[zero_varience]", "group_filters: unknown 'zero_varience'; did you mean 'zero_variance'"),
        ("recipe=grop", "recipe: unknown 'grop'; known are grpo"),
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
    with pytest.raises(ValueError, match="learner, seed changed since the run began"):
        check_resumable(old, load_config(find_config(SMOKE), ["seed=4", "learner.optimizer.lr=1"]))


def test_the_batch_arithmetic_is_said_in_words():
    text = batch_arithmetic(load_config(find_config(SMOKE), ["learner.updates_per_step=2", "max_staleness=3"]))
    assert "8 prompts a step x 16 samples a prompt = 128 sequences a step" in text
    assert "up to 3 steps old" in text
    assert "2 optimizer updates a step, about 64 sequences each" in text
