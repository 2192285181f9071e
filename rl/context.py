"""How many tokens the engine must hold for evaluations, and whether the model takes as many."""

from collections.abc import Mapping, Sequence

from rl.evals import EvalConfig, read_suites
from rollout.chat import Chat
from rollout.engine import EngineConfig
from rollout.types import Prompt


def fit_context(
    engine: EngineConfig,
    model: str,
    configs: Sequence[EvalConfig],
    prompts: Mapping[str, Sequence[Prompt]],
    *,
    is_fixed: bool = False,
) -> EngineConfig:
    """The engine's config with room for the longest prompt and response; a `max_context_tokens` of the user's stays.

    With `is_fixed` the default stays as well. Raises ValueError where what stays, or else the model's
    `max_position_embeddings`, does not suffice.
    """
    if not prompts:
        return engine
    chat = Chat(model)
    needs = {}
    for config in configs:
        if config.suite in prompts:
            longest = max(len(chat.render(prompt)) for prompt in prompts[config.suite])
            needs[config.suite] = longest, config.sampling.max_tokens
    suite, (longest, max_tokens) = max(needs.items(), key=lambda item: sum(item[1]))
    needed = longest + max_tokens
    stays = is_fixed or "max_context_tokens" in engine.model_fields_set
    limit = engine.max_context_tokens if stays else max_positions(model)
    if limit is not None and needed > limit:
        whose = "engine.max_context_tokens is" if stays else "the model's max_position_embeddings is"
        room = limit - longest
        remedy = f"--max-tokens {room} or less fits, and makes it another setting" if room > 0 else "drop that prompt"
        raise ValueError(
            f"suite {suite} asks for {max_tokens} response tokens beside a prompt of {longest}, and {whose} {limit}: "
            f"{remedy}" + ("; or raise it" if stays else "; or set engine.max_context_tokens if the model takes more")
        )
    return engine if stays else engine.model_copy(update={"max_context_tokens": needed})


def fitting_prompts(engine: EngineConfig, model: str, configs: Sequence[EvalConfig]) -> dict[str, list[Prompt]]:
    """The prompts of all suites by name, for engines as they are: a training run does not fit them to its evaluations.

    Raises ValueError where a suite cannot be read or does not fit, before hours of training end with that.
    """
    prompts = read_suites(configs)
    fit_context(engine, model, configs, prompts, is_fixed=True)
    return prompts


def max_positions(model: str) -> int | None:
    """The context that the model was made for, where its config says so. Raises ValueError where it has none."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model)
    except OSError as error:
        raise ValueError(f"model: {error}") from error
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) else None
