"""What is recorded on a GPU can be captured, as far as torch's meta device shows; and the lint sees what cannot."""

from dataclasses import replace
from typing import get_type_hints

import pytest
import torch
from capture_lint import DEVICE, CaptureLint, NotCapturable, moved
from tape import tape

from rlsparse import sim
from rlsparse.algorithms.natural_gradient import CG, MFAC
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.learner.kinds import kinds
from rlsparse.learner.recorded import Recorded
from rlsparse.sim.collect import ActionBox
from rlsparse.sim.collect_device import DeviceCollector
from rlsparse.sim.tasks import TASKS

NUMBERS = torch.arange(3.0)


def on_device(*shape):
    return torch.zeros(shape, device=DEVICE)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x + NUMBERS, "takes a tensor on cpu"),
        (lambda x: x * NUMBERS[0], "takes a tensor on cpu"),
        (lambda x: x + torch.zeros(3), "returns a tensor on cpu"),
        (lambda x: x + torch.tensor(2.0, device=DEVICE).item(), "reads a number to the host"),
        (lambda x: x.nonzero(), "size depends on numbers"),
        (lambda x: x[x > 0], "size depends on numbers"),
        (lambda x: x + torch.randn(3, device=DEVICE), "draws numbers"),
        (lambda x: x[torch.randperm(3, device=DEVICE)], "draws numbers"),
    ],
)
def test_what_a_graph_would_freeze_or_refuse_is_found(function, message):
    with CaptureLint(), pytest.raises(NotCapturable, match=message):
        function(on_device(3))


def test_what_stays_on_the_device_passes_and_is_counted():
    with CaptureLint() as lint:
        x = on_device(3)
        x.copy_(torch.where(x > 0, 0.0, x.exp()))
    assert lint.operations == 6  # zeros, greater, exp, the scalar, where, copy


@pytest.fixture
def looked_at(monkeypatch):
    """How many operations each recorded function has had that was called, without being recorded."""
    found = []

    def look(self, *inputs):
        with CaptureLint() as lint:
            results = self._function(*inputs)
        found.append(lint.operations)
        return results

    monkeypatch.setattr(Recorded, "__call__", look)
    return found


FAST = {"epochs": 1, "minibatches": 2}
OBJECTIVES = kinds(get_type_hints(PPO)["objective"])
ON_HOST = [name for name, cls in OBJECTIVES.items() if "cpu-environments" in getattr(cls(), "needs", {})]
ALGORITHMS = {
    **{f"ppo, {name}": PPO(**FAST, objective=cls()) for name, cls in OBJECTIVES.items() if name not in ON_HOST},
    "ppo, advantages as they are": PPO(**FAST, normalise_advantages=False, entropy_coef=0.01),
    "trpo": TRPO(critic_epochs=1, critic_minibatches=2, solver=CG(3), backtracks=2),
    "trpo, m-fac": TRPO(critic_epochs=1, critic_minibatches=2, solver=MFAC(8)),
}


POLICIES = [{}, {"activation": "silu", "layer_normalisation": True}, {"log_std_min": -1.0, "log_std_max": 0.0}]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
def test_steps_of_updates_can_be_captured(algorithm, policy, new_learner, new_batch, looked_at):
    learner = new_learner(device=DEVICE, **policy)
    learner.record = tape
    batch = new_batch(new_learner(**policy)).map(lambda x: torch.tensor(x, device=DEVICE))
    batch = replace(batch, episode=torch.zeros(3, 24, dtype=torch.int64, device=DEVICE))
    for weight in (None, on_device(3, 24)):
        list(algorithm.update(learner, replace(batch, weight=weight)))
    assert len(looked_at) >= 4


@pytest.mark.parametrize("policy", [*POLICIES, {"state_dependent_std": True}])
def test_a_step_of_acting_can_be_captured(policy, new_learner, looked_at):
    learner, collector = new_learner(device=DEVICE, **policy), object.__new__(DeviceCollector)
    learner.record = tape
    collector._to_native = moved(ActionBox(*torch.tensor([[-1.0], [1.0]]).expand(2, 3).numpy(), "cpu:0"))
    act = collector._recorded(learner)
    act(on_device(3, 4, 5), on_device(3, 4, 3), on_device(3, 5), on_device(3, 5))
    assert len(looked_at) == 1


MOST = 160
"""Operations of a step of environments, beside the physics, views included: 67 to 159 in the eleven tasks."""


@pytest.mark.xdist_group("warp")
@pytest.mark.parametrize("autoreset", [True, False])
@pytest.mark.parametrize("env_id", TASKS)
def test_what_a_step_of_an_environment_does_beside_the_physics_can_be_captured(env_id, autoreset, looked_at):
    pytest.importorskip("mujoco_warp", reason="needs pip install 'rlsparse[gpu]'")
    env = sim.make(env_id, 3, simulator="warp", device="cpu", autoreset=autoreset)
    env.reset(seed=0)
    moved(env)
    with torch.no_grad():
        env._outcome_recorded()
        env._begin_recorded()
    assert sum(looked_at) <= MOST
    with torch.no_grad():
        env._place_recorded()
