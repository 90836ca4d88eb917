"""The eleven Gymnasium MuJoCo v5 tasks that are simulated in batches, by their ids."""

from collections.abc import Mapping
from types import MappingProxyType

from rlsparse.sim.fixed_base import InvertedDoublePendulum, InvertedPendulum, Pusher, Reacher
from rlsparse.sim.locomotion import Ant, HalfCheetah, Hopper, Humanoid, HumanoidStandup, Swimmer, Walker2d
from rlsparse.sim.task import Task

TASKS: Mapping[str, type[Task]] = MappingProxyType(
    {
        "Ant-v5": Ant,
        "HalfCheetah-v5": HalfCheetah,
        "Hopper-v5": Hopper,
        "Humanoid-v5": Humanoid,
        "HumanoidStandup-v5": HumanoidStandup,
        "InvertedDoublePendulum-v5": InvertedDoublePendulum,
        "InvertedPendulum-v5": InvertedPendulum,
        "Pusher-v5": Pusher,
        "Reacher-v5": Reacher,
        "Swimmer-v5": Swimmer,
        "Walker2d-v5": Walker2d,
    }
)
