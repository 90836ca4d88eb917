"""What was tried for the `ppo` and `trpo` cards: each setting alone, on seeds that no published figure uses.

    python benchmarks/tuning.py run --arms kl kl-wide --envs Ant Humanoid [--num-seeds 8]
    python benchmarks/tuning.py report

`run` trains each arm with seeds 100, 101, ... and keeps its curve under benchmarks/results/tuning/<steps>/<arm>/ (see
arms.py, also for --jobs, --out and --results). `report` prints the table of docs/notes/ppo.md: means of the last
evaluations, of ten episodes each, with their standard error over seeds. Arms that have curves and are not here need
code that was tried: benchmarks/results/tuning/tried.patch, on revision e67ae2f.
"""

from pathlib import Path
from typing import Any

import numpy as np
from arms import curves_in, main
from learning import ENVS, number
from tables import all_finals

FIRST_SEED = 100
NUM_SEEDS = 8
EVALUATIONS = 5


def merged(*tables: dict[str, Any]) -> dict[str, Any]:
    """Return nested tables in one; the later one says what both say."""
    whole: dict[str, Any] = {}
    for table in tables:
        for name, x in table.items():
            whole[name] = merged(whole.get(name, {}), x) if isinstance(x, dict) else x
    return whole


def algorithm(**fields: Any) -> dict[str, Any]:
    """Return fields of the algorithm."""
    return {"algorithm": fields}


def widths(actor: int, critic: int) -> dict[str, Any]:
    """Return the fields for two hidden layers of these widths."""
    return {"policy": {"actor_hidden": [actor, actor], "critic_hidden": [critic, critic]}}


def first_deviation(log_std: float) -> dict[str, Any]:
    """Return the field of the deviation of actions with which learning begins."""
    return {"policy": {"log_std_init": log_std}}


def horizon(gamma: float) -> dict[str, Any]:
    """Return the fields of a discount."""
    return {"advantage": {"gamma": gamma, "gae_lambda": 0.98}}


ANY_DEVIATION = {"log_std_init": -0.5, "log_std_min": None}
PLAIN = {"epochs": 10, "minibatches": 32, "target_kl": None, "objective": {"kind": "clip"}}
BASE = {"agent": "ppo", "num_envs": 8, "rollout_length": 256, **algorithm(**PLAIN), "policy": ANY_DEVIATION}
TRPO = {
    "agent": "trpo",
    "num_envs": 16,
    "rollout_length": 64,
    **algorithm(target_kl=0.01, critic_minibatches=1),
    "policy": ANY_DEVIATION,
}
CRITIC = algorithm(critic_minibatches=16)
KL = algorithm(target_kl=0.015)
REUSE = algorithm(objective={"kind": "reuse"})
SHORT = {"rollout_length": 128, **algorithm(minibatches=16)}
LARGE = {
    "num_envs": 8,
    "rollout_length": 512,
    **algorithm(minibatches=16, learning_rate=6e-4, normalise_advantages=True),
}
LONG_HORIZON = {"advantage": {"gamma": 0.9999, "gae_lambda": 0.98}}
FLOOR = {"policy": {"log_std_init": -1.0, "log_std_min": -2.3}}
FALLING = {"policy": {"log_std_init": -0.5, "log_std_min": -1.5}}
LONGER = {"num_envs": 8, "rollout_length": 256}
TRPO_CARD = merged(TRPO, CRITIC, LONGER, FLOOR)
CARD = merged(BASE, KL, REUSE, {"policy": {"log_std_min": -2.3}})
ARMS = {
    "base": BASE,
    "base-96": merged(BASE, widths(96, 96)),
    "base-64-256": merged(BASE, widths(64, 256)),
    "base-128-256": merged(BASE, widths(128, 256)),
    "base-standardised": merged(BASE, algorithm(normalise_advantages=True)),
    "slow": merged(BASE, algorithm(learning_rate=1e-4)),
    "lambda-90": merged(BASE, {"advantage": {"gae_lambda": 0.9}}),
    "kl-lambda-90": merged(BASE, KL, {"advantage": {"gae_lambda": 0.9}}),
    "kl-5": merged(BASE, KL, algorithm(epochs=5)),
    "kl": merged(BASE, KL),
    "kl-96": merged(BASE, KL, widths(96, 96)),
    "kl-64-256": merged(BASE, KL, widths(64, 256)),
    "kl-128-256": merged(BASE, KL, widths(128, 256)),
    "kl-512": merged(BASE, KL, {"rollout_length": 64, **algorithm(minibatches=8)}),
    "kl-short": merged(BASE, KL, SHORT),
    "kl-98": merged(BASE, KL, {"advantage": {"gamma": 0.98, "gae_lambda": 0.92}}),
    "kl-long-horizon": merged(BASE, KL, LONG_HORIZON),
    "kl-30": merged(BASE, algorithm(target_kl=0.03)),
    "kl-init-15": merged(BASE, KL, first_deviation(-1.5)),
    "reuse-kl-init-05": merged(BASE, KL, REUSE),
    "reuse-kl-init-10": merged(BASE, KL, REUSE, first_deviation(-1.0)),
    "reuse-kl-init-15": merged(BASE, KL, REUSE, first_deviation(-1.5)),
    "card": CARD,
    "card-init-10": merged(CARD, first_deviation(-1.0)),
    "card-init-15": merged(CARD, first_deviation(-1.5)),
    "card-floor-15": merged(CARD, {"policy": {"log_std_min": -1.5}}),
    "init-10-floor-15": merged(CARD, first_deviation(-1.0), {"policy": {"log_std_min": -1.5}}),
    "init-10-995": merged(CARD, first_deviation(-1.0), {"advantage": {"gamma": 0.995}}),
    "init-10-kl-30": merged(CARD, first_deviation(-1.0), algorithm(target_kl=0.03)),
    "init-10-5": merged(CARD, first_deviation(-1.0), algorithm(epochs=5)),
    "init-10-lambda-90": merged(CARD, first_deviation(-1.0), {"advantage": {"gae_lambda": 0.9}}),
    "init-10-lambda-98": merged(CARD, first_deviation(-1.0), {"advantage": {"gae_lambda": 0.98}}),
    "init-10-64-256": merged(CARD, first_deviation(-1.0), widths(64, 256)),
    "init-10-reuse-8": merged(CARD, first_deviation(-1.0), algorithm(objective={"rollouts": 8})),
    "judged-line": {"agent": "explorler-ppo-surrogate"},
    "reuse-8": merged(CARD, algorithm(objective={"rollouts": 8})),
    "reuse-kl-10": merged(CARD, algorithm(target_kl=0.01)),
    "reuse-kl-20": merged(CARD, algorithm(target_kl=0.02)),
    "reuse-lambda-90": merged(CARD, {"advantage": {"gae_lambda": 0.9}}),
    "reuse-128-256": merged(CARD, widths(128, 256)),
    "reuse-1024": merged(CARD, {"rollout_length": 128}),
    "trpo": TRPO,
    "trpo-init-15": merged(TRPO, first_deviation(-1.5)),
    "trpo-critic": merged(TRPO, CRITIC),
    "trpo-floor": merged(TRPO, FLOOR),
    "trpo-2048": merged(TRPO, CRITIC, LONGER),
    "trpo-2048-floor": TRPO_CARD,
    "trpo-2048-floor-20": merged(TRPO_CARD, algorithm(target_kl=0.02)),
    "trpo-2048-floor-9999": merged(TRPO_CARD, horizon(0.9999)),
    "trpo-2048-init-05-floor-15-9999": merged(TRPO_CARD, FALLING, horizon(0.9999)),
    "trpo-2048-init-15-20": merged(TRPO_CARD, first_deviation(-1.5), algorithm(target_kl=0.02)),
    "trpo-2048-floor-15": merged(TRPO_CARD, {"policy": {"log_std_min": -1.5}}),
    "trpo-2048-init-15-30": merged(TRPO_CARD, first_deviation(-1.5), algorithm(target_kl=0.03)),
    "trpo-2048-init-05": merged(TRPO_CARD, first_deviation(-0.5)),
    "trpo-2048-init-05-floor-15": merged(TRPO_CARD, FALLING),
    "swimmer-995": merged(BASE, LARGE, horizon(0.995)),
    "swimmer-999": merged(BASE, LARGE, horizon(0.999)),
    "swimmer-9999": merged(BASE, LARGE, horizon(0.9999)),
}


def report(folder: Path) -> None:
    """Print the Markdown table of one budget: a row for each setting, a column for each task."""
    scores = all_finals(sorted(path.name for path in folder.iterdir() if path.is_dir()), ENVS, curves_in(folder))
    envs = [env for env in ENVS if any(env in own for own in scores.values())]
    print(f"| {int(folder.name):,} steps | {' | '.join(env.removesuffix('-v5') for env in envs)} |")
    print("|---|" + "---:|" * len(envs))
    for arm, own in scores.items():
        print(f"| `{arm}` | {' | '.join(cell(own[env]) if env in own else '' for env in envs)} |")


def cell(returns: dict[int, float]) -> str:
    """Say mean and standard error of the seeds' returns, and how many seeds there are if not the usual number."""
    x = np.array([*returns.values()])
    error = f" ({number(x.std(ddof=1) / len(x) ** 0.5)})" if len(x) > 1 else ""
    return f"{number(x.mean())}{error}" + (f", {len(x)} seeds" if len(x) != NUM_SEEDS else "")


if __name__ == "__main__":
    main(
        __doc__,
        "tuning",
        ARMS,
        ENVS,
        lambda asked: {arm: ARMS[arm] | {"eval_every": asked.steps // EVALUATIONS} for arm in asked.arms},
        report,
        first_seed=FIRST_SEED,
        num_seeds=NUM_SEEDS,
    )
