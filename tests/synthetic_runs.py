"""Run directories with curves that a test chooses, in the files that training writes."""

import json

import numpy as np

from rlsparse.run.cards import agents, environments
from rlsparse.run.recipe import from_dict, to_toml

PACKAGES = {"gymnasium": "1.4.0", "mujoco": "4.0.0", "numpy": "2.4.6"}


def write_run(
    path, curves, *, agent="ppo", env="Pendulum-v1", steps=None, state="finished", reason="", packages=None,
    probe_share=0.0, started="2026-11-20T12:00:00+00:00", num_seeds=None, episodes=10, without=(), **settings,
):  # fmt: skip
    """Write a run whose seeds 0, 1, ... (or the keys of a dict) have the given returns at `steps`."""
    curves = curves if isinstance(curves, dict) else dict(enumerate(curves))
    path.mkdir(parents=True)
    longest = max((len(y) for y in curves.values()), default=0)
    steps = np.arange(longest) * 1000 if steps is None else np.asarray(steps)
    card = agents().get(agent) or agents()["ppo"]
    fields = {**card.recipe_for(env), "env": env, "seed": min(curves, default=0)}
    fields |= {"num_seeds": num_seeds or max(1, len(curves)), "total_steps": 20_000}
    fields = {name: x for name, x in fields.items() if name not in without}
    (path / "recipe.toml").write_text(to_toml(from_dict(_nested(fields, settings), "test")))
    versions = {"agent": agent, "packages": {**PACKAGES, **(packages or {})}, "started": started}
    (path / "versions.json").write_text(json.dumps(versions))
    last = int(steps.max(initial=0))
    (path / "status.json").write_text(json.dumps({"state": state, "total_steps": last, "reason": reason}))
    rows = [
        {
            "seed": seed,
            "total_steps": steps[i],
            "train_steps": steps[i] - int(probe_share * steps[i]),
            "probe_steps": int(probe_share * steps[i]),
            "eval_steps": 2000 * (i + 1),
            "seconds": i * 0.5,
            "return_mean": float(y[i]),
            "return_std": 1.0,
            "episodes": episodes,
            "length_mean": 200.0,
            "train_return_mean": float(y[i]) - 5,
        }
        for i in range(longest)
        for seed, y in curves.items()
        if i < len(y)
    ]
    if longest:
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        (path / "progress.csv").write_text("\n".join(lines) + "\n")
    return path


def _nested(fields, settings):
    for name, value in settings.items():
        *parents, last = name.split("__")
        table = fields
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = value
    return fields


def rising(generator, n=5, points=21, top=100.0, noise=10.0):
    """n curves that rise to `top`, each with a level and a wobble of its own."""
    level = generator.normal(0, noise, (n, 1))
    wobble = generator.normal(0, noise / 3, (n, points))
    return top * np.linspace(0, 1, points) + level + wobble


KNOWN_ENVIRONMENTS = sorted(environments())
