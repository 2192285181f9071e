"""The sampler of prompts with an environment: many episodes at once, token-exact."""

import asyncio
from collections.abc import Awaitable, Callable

from rollout.chat import Chat
from rollout.engine import EngineConfig
from rollout.environments.episode import Player, Room
from rollout.environments.observations import ObservationRenderer
from rollout.environments.registry import MakeEnvironment
from rollout.environments.time_limit import Caller
from rollout.sampler import EngineHandle, Sampler
from rollout.types import EnvironmentConfig, Group, Prompt, Sample, SamplingParams


class EnvironmentSampler(Sampler):
    """A sampler that has prompts with an environment answered by it; all others go straight to the engines.

    `find_environment(name)` gives what makes an environment; it raises ValueError for an unknown name.
    """

    def __init__(
        self,
        engines: list[EngineHandle],
        chat: Chat,
        config: EngineConfig,
        start_engine: Callable[[int], Awaitable[EngineHandle]],
        find_environment: Callable[[str], MakeEnvironment],
    ) -> None:
        super().__init__(engines, chat, config, start_engine)
        self.find_environment = find_environment
        self._caller = Caller()
        self._renderer: ObservationRenderer | None = None

    async def sample(self, prompt: Prompt, *, params: SamplingParams, num_samples: int, seed: int) -> Group:
        """`num_samples` responses to one prompt, or as many episodes that begin with it.

        The first turns of all samples are one request; then each goes on by itself. A failure of an environment is
        told in `Sample.episode`. Raises as `Sampler.sample` does, and ValueError where the model has no tool turns.
        """
        environment = prompt.environment
        if environment is None:
            return await super().sample(prompt, params=params, num_samples=num_samples, seed=seed)
        make, renderer = self.find_environment(environment.name), self._open_renderer()
        token_ids = self.chat.render(prompt)
        self.check_fits(prompt, len(token_ids), params)
        room = self._room(environment, prompt, len(token_ids), params)

        async def go_on(tokens: tuple[int, ...], max_tokens: int, turn_seed: int) -> Sample:
            limited = params.model_copy(update={"max_tokens": max_tokens})
            (turn,) = await self.go_on(prompt, tokens, params=limited, num_samples=1, seed=turn_seed)
            return turn

        first = params.model_copy(update={"max_tokens": min(room.left(()), room.max_turn)})
        turns = await self.go_on(prompt, token_ids, params=first, num_samples=num_samples, seed=seed)
        player = Player(
            prompt=prompt,
            prompt_token_ids=token_ids,
            config=environment,
            make=make,
            room=room,
            renderer=renderer,
            caller=self._caller,
            go_on=go_on,
        )
        tasks = [asyncio.create_task(player.play(turn, number, seed)) for number, turn in enumerate(turns)]
        try:
            samples = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # the first failure ends the others
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        block = self.chat.think_block(token_ids)
        return Group(prompt=prompt, prompt_token_ids=token_ids, think_block=block, samples=tuple(samples))

    def _room(self, environment: EnvironmentConfig, prompt: Prompt, num_prompt: int, params: SamplingParams) -> Room:
        context = self.config.max_context_tokens
        total = min(context, environment.max_total_tokens or context)
        if num_prompt >= total:
            raise ValueError(
                f"prompt {prompt.id}: {num_prompt} prompt tokens leave no room for a response in "
                f"environment.max_total_tokens = {total}; raise it or drop the prompt"
            )
        return Room(
            num_prompt=num_prompt,
            max_sampled=params.max_tokens,
            max_turn=environment.max_turn_tokens or params.max_tokens,
            max_total=total,
        )

    def _open_renderer(self) -> ObservationRenderer:
        """What renders observations, after a trial on this model's template."""
        if self._renderer is None:
            renderer = ObservationRenderer(self.chat.tokenizer)
            renderer.check()
            self._renderer = renderer
        return self._renderer
