"""The processes that parts of a config start, as roles that want a place."""

from collections.abc import Sequence
from pathlib import Path

from rewards.scorer import ScorerConfig
from rl.learner import LearnerConfig
from rl.models import resolve_model
from rl.placement import Role, RoleKind
from rollout.engine import EngineConfig


def engine_role(config: EngineConfig, model: str, kind: RoleKind = "engine") -> Role:
    """Engines of the policy, or of its teacher. `model` is a folder or a hub id."""
    gpus = config.tensor_parallel_size
    return Role(kind=kind, name=kind, count=config.num_engines, gpus=gpus, paths=_folders(model))


def learner_role(config: LearnerConfig, model: str, *run_folder: Path) -> Role:
    """Learner ranks; they write checkpoints into the run folder."""
    paths = (*_folders(model), *(str(folder.resolve()) for folder in run_folder))
    return Role(kind="learner", name="learner", count=config.num_ranks, gpus=1, paths=paths)


def reward_roles(config: ScorerConfig, run_folder: Path) -> list[Role]:
    """The scorer with its workers, and the models that it asks and that Sharpen serves, with logs in the folder."""
    roles = [scorer_role(config)]
    for name, model in config.models.items():
        if model.serve:
            paths = (*_folders(resolve_model(model.model)), str(run_folder.resolve()))
            roles.append(model_role(name, model.num_gpus, paths))
    return roles


def scorer_role(config: ScorerConfig) -> Role:
    """The scorer with its workers."""
    return Role(kind="scorer", name="scorer", cpus=config.num_workers)


def model_role(name: str, num_gpus: float, paths: Sequence[str] = ()) -> Role:
    """A judge or preference model behind `vllm serve`."""
    return Role(kind="model", name=f"{name} model", gpus=num_gpus, paths=tuple(paths))


def _folders(model: str) -> tuple[str, ...]:
    """A model's folder; a hub id is downloaded on each node."""
    return (model,) if Path(model).is_dir() else ()
