"""What other libraries call our flags: whoever types such a name is told ours. It is a hint, and not accepted.

Names of Stable-Baselines3 and its zoo, CleanRL, rsl_rl and Gymnasium.
"""

PARTS = "--algorithm.minibatches, the number of equal parts of a rollout"

OTHER_NAMES = {
    "algo": "--algorithm",
    "anneal-lr": "--algorithm.learning-rate-decay",
    "batch-size": PARTS,
    "capture-video": "rlsparse play RUN --video FILE",
    "clip-coef": "--algorithm.clip-range",
    "clip-param": "--algorithm.clip-range",
    "conf-file": "--like RUN",
    "config": "--like RUN",
    "cuda": "--device cuda",
    "ent-coef": "--algorithm.entropy-coef",
    "env-id": "--env",
    "env-kwargs": "--env-kwargs.NAME VALUE",
    "environment": "--env",
    "eval-freq": "--eval-every",
    "hidden-size": "--policy.actor-hidden",
    "hidden-sizes": "--policy.actor-hidden",
    "lam": "--advantage.gae-lambda",
    "lambda": "--advantage.gae-lambda",
    "log-dir": "--out",
    "log-folder": "--out",
    "logdir": "--out",
    "lr": "--algorithm.learning-rate",
    "max-iterations": "--total-steps",
    "minibatch-size": PARTS,
    "n-envs": "--num-envs",
    "n-epochs": "--algorithm.epochs",
    "n-eval-episodes": "--eval-episodes",
    "n-seeds": "--num-seeds",
    "n-steps": "--rollout-length",
    "n-timesteps": "--total-steps",
    "net-arch": "--policy.actor-hidden and --policy.critic-hidden",
    "norm-adv": "--algorithm.normalise-advantages",
    "normalize": "--policy.normalise-observations",
    "num-epochs": "--algorithm.epochs",
    "num-learning-epochs": "--algorithm.epochs",
    "num-mini-batches": "--algorithm.minibatches",
    "num-minibatches": "--algorithm.minibatches",
    "num-steps": "--rollout-length",
    "num-timesteps": "--total-steps",
    "policy-kwargs": "--policy.actor-hidden, --policy.critic-hidden and --policy.log-std-init",
    "save-freq": "--keep-checkpoints",
    "seeds": "--num-seeds",
    "steps": "--total-steps",
    "timesteps": "--total-steps",
    "total-timesteps": "--total-steps",
    "track": "--callbacks rlsparse:WeightsAndBiases",
    "trained-agent": "--init",
    "update-epochs": "--algorithm.epochs",
    "vec-env": "--env-workers",
    "vf-coef": "--algorithm.value-coef",
    "wandb": "--callbacks rlsparse:WeightsAndBiases",
}
"""By the other name, dashes between words: what to write here."""


def ours(name: str) -> str | None:
    """Return what a flag of another library, such as n-steps, is here; None for any other."""
    return OTHER_NAMES.get(name)
