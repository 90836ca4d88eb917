"""Which class simulates a MuJoCo task in a batch."""

from rlsparse.sim.cpu import MujocoVectorEnv
from rlsparse.sim.curriculum_envs import MujocoCurriculumEnv
from rlsparse.sim.tasks import task_class
from rlsparse.sim.varied import factors_of


def batched_class(env_id: str) -> type[MujocoVectorEnv]:
    """Return the class for a task, Gymnasium's or a user's."""
    task = task_class(env_id)
    if task is not None and factors_of(task):
        from rlsparse.sim.varied_envs import VariedEnv

        return VariedEnv
    return MujocoCurriculumEnv
