"""Which kinds of components go together: a recipe for any two of them, and the page that tells what `check` says.

`python tests/pairs.py > docs/pairs.md` writes the page.
"""

import re
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any, get_args, get_type_hints

from rlsparse.advantage.kinds import Estimator
from rlsparse.advantage.submodular import Submodular
from rlsparse.algorithms.choices import Objective
from rlsparse.algorithms.kinds import Algorithm
from rlsparse.algorithms.natural_gradient import Solver
from rlsparse.algorithms.ppo import PPO
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer, Probe, Proposal
from rlsparse.learner.kinds import kinds
from rlsparse.run.recipe import Recipe, from_dict
from rlsparse.sparse.config import Rule, Sparse

FLAGS = {
    "algorithm": ("--algorithm", kinds(Algorithm)),
    "objective": ("--algorithm.objective", kinds(Objective)),
    "optimiser": ("--algorithm.optimiser", get_args(get_type_hints(PPO)["optimiser"])),
    "solver": ("--algorithm.solver", kinds(Solver)),
    "advantage": ("--advantage", kinds(Estimator | Submodular)),
    "sparse": ("--sparse", kinds(Rule)),
    "drop-by": ("--sparse.drop-by", get_args(get_type_hints(Sparse)["drop_by"])),
    "proposal": ("--explore.proposal", kinds(Proposal)),
    "probe": ("--explore.probe", kinds(Probe)),
    "anchors": ("--explore.anchors", get_args(get_type_hints(ExploRLer)["anchors"])),
    "moments": ("--explore.moments", get_args(get_type_hints(ExploRLer)["moments"])),
}
"""Flag and kinds of every family."""

FAMILIES = {family: tuple(names) for family, (_, names) in FLAGS.items()}

OF_ALGORITHM = {"objective": "ppo", "optimiser": "ppo", "solver": "trpo"}
"""Families that one algorithm alone has."""

Kind = tuple[str, str]
"""Family and name."""

SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"epochs": 2, "minibatches": 4, "learning_rate": 0.01},
    "trpo": {"critic_epochs": 1, "critic_minibatches": 4},
    "n-pg-igt": {"critic_epochs": 1, "critic_minibatches": 4},
    "n-harpg": {"critic_epochs": 1, "critic_minibatches": 4, "second_length": 4},
    "hpt": {"success_return": -2.0, "gate": 0.6},
    "reuse": {"rollouts": 2},
    "mfac": {"samples": 8},
    "monte-carlo": {"unseen": 1.0},
    **dict.fromkeys(("grpo", "dr-grpo", "rloo"), {"group_size": 2}),
    **dict.fromkeys(("group-relative", "reinforce-plus-plus"), {"group_size": 2, "unseen": 1.0}),
    "submodular": {"projection": "obs:0,1", "low": [-1.5, -1.0], "high": [1.5, 1.0]},
    **dict.fromkeys(("set", "rigl"), {"every": 1, "end": 1.0}),
    "magnitude": {"start": 0.01, "end": 0.5},
    "dcil": {"start": 0.01, "end": 0.5, "schedule": "constant"},
    "ast": {"start": 0.01, "end": 0.5, "sparser": [0.7]},
    **dict.fromkeys(("empty-space", "random-walk"), {"agents": 2, "moves": 4, "keep_every": 4, "neighbours": 2}),
    "averages": {"agents": 2, "neighbours": 2},
    "gaussian": {"candidates": 2},
    "line": {"fractions": [-1.0, 0.0, 2.0, 3.0]},
    "guided-evolution": {"pairs": 1},
    "consensus": {"particles": 2},
    "surrogate-gradient": {"candidates": 2},
    "episodes": {"episodes": 1, "accept": "always"},
    "racing": {"episodes": [1, 1], "duel": 2, "accept": "always"},
    "in-rollout": {"share": 1.0, "antithetic": False, "move": "evolution"},
    "surrogate": {"blocks": 4, "accept": "always"},
}
"""Settings that make a run of a kind small enough to have one for each pair, and probes accept what they find."""

BASE = {
    "env": "fake_envs:Point-v0",
    "num_seeds": 2,
    "num_envs": 4,
    "rollout_length": 8,
    "total_steps": 1000,
    "policy": {"actor_hidden": [8], "critic_hidden": [8]},
}
"""What all recipes have in common."""

SETTINGS: dict[str, dict[str, Any]] = {
    "--algorithm.minibatches 1": {"algorithm": {"minibatches": 1}},
    "--algorithm.no-normalise-advantages": {"algorithm": {"normalise_advantages": False}},
    "--advantage.reward-weight 1": {"advantage": {"reward_weight": 1.0}},
    "--advantage vtrace": {"advantage": {"kind": "vtrace"}},
    "--explore.proposal.rounds 1": {"explore": {"proposal": {"rounds": 1}}},
}
"""What a refusal may advise that keeps the kinds as they are."""


@dataclass(frozen=True)
class Verdict:
    """Whether some kinds go together: a recipe, maybe with `settings` that they need, or why not."""

    recipe: Recipe | None
    settings: tuple[str, ...]
    refusal: str


@cache
def pairs() -> list[tuple[Kind, Kind]]:
    """Return every two kinds of different families, but those that belong to different algorithms."""
    all_kinds = [(family, name) for family, names in FAMILIES.items() for name in names]
    of = OF_ALGORITHM.get
    return [(a, b) for a, b in combinations(all_kinds, 2) if a[0] != b[0] and len({of(a[0]), of(b[0]), None}) < 3]


@cache
def verdict(*chosen: Kind) -> Verdict:
    """Return whether these kinds go together, with other components that are usual."""
    document, settings = described(dict(chosen)), ()
    while True:
        try:
            return Verdict(from_dict(document, "recipe"), settings, "")
        except UsageError as error:
            advised = [flag for flag in SETTINGS if flag in str(error) and flag not in settings]
            if not advised:
                return Verdict(None, settings, str(error))
            settings += (advised[0],)
            document = merged(document, SETTINGS[advised[0]])


def described(chosen: dict[str, str]) -> dict[str, Any]:
    """Return the document of a small recipe with the chosen kinds, by family."""
    algorithm = chosen.get("algorithm") or ("trpo" if "solver" in chosen else "ppo")
    parts = {family: component(chosen[family]) for family in ("objective", "solver") if family in chosen}
    parts |= {"optimiser": chosen["optimiser"]} if "optimiser" in chosen else {}
    document = BASE | {
        "algorithm": component(algorithm) | parts,
        "advantage": component(chosen.get("advantage", "gae")),
    }
    if {"sparse", "drop-by"} & set(chosen):
        drop_by = chosen.get("drop-by", "magnitude")
        document["sparse"] = {"sparsity": 0.5, "rule": component(chosen.get("sparse", "rigl")), "drop_by": drop_by}
    if {"proposal", "probe", "anchors", "moments"} & set(chosen):
        document["explore"] = {
            "proposal": component(chosen.get("proposal", "line")),
            "probe": component(chosen.get("probe", "episodes")),
            "anchors": chosen.get("anchors", "epochs"),
            "moments": chosen.get("moments", "keep"),
            "num_anchors": 2,
            "budget_fraction": 1.0,
        }
    return document


def component(kind: str) -> dict[str, Any]:
    """Return a small component of this kind as a document has it."""
    return {"kind": kind, **SMALL.get(kind, {})}


def merged(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the document with changes; another kind takes the place of a whole component."""
    result = dict(document)
    for key, x in changes.items():
        result[key] = merged(document.get(key, {}), x) if isinstance(x, dict) and "kind" not in x else x
    return result


USUAL = {**dict.fromkeys(("proposal", "anchors", "moments"), ("probe", "episodes")), "drop-by": ("sparse", "rigl")}
"""What kinds of a family need others for, where these are not chosen."""

INTRODUCTION = """\
# What goes with what

Any two kinds of components from different families either learn together or are refused before the first step, in one
line that says why and what to use instead: components declare what they need and what they give. This page is written
by `python tests/pairs.py`, from what the library says of every pair, and a test holds it against the library. Other
tests train every kind, and check that weights move, that absent ones stay zero, that all steps are counted, and that
the choice makes a difference.

✓ goes with all kinds of the family above it; *not* names those that are refused; numbers are notes below; a dash says
that another algorithm alone has this family. Families begin with their flags; their kinds are explained in
[advantages.md](advantages.md), [submodular.md](submodular.md), [objectives.md](objectives.md) (optimisers too),
[trpo.md](trpo.md) (solvers), [sparse.md](sparse.md) and [explorler.md](explorler.md).
"""


class Notes:
    """Sentences under the table, numbered as they are first asked for."""

    def __init__(self) -> None:
        self.texts: dict[Any, str] = {}

    def number(self, key: Any, text: str) -> int:
        """Return the number of the note about `key`, which says `text` if it is new."""
        self.texts.setdefault(key, text)
        return list(self.texts).index(key) + 1


def page() -> str:
    """Return docs/pairs.md."""
    notes = Notes()
    rows = ["| | " + " | ".join(FAMILIES) + " |", "|---" * (len(FAMILIES) + 1) + "|"]
    for family, names in FAMILIES.items():
        rows.append(f"| **`{FLAGS[family][0]}`** |" + " |" * len(FAMILIES))
        for name in names:
            cells = [cell((family, name), other, notes) for other in FAMILIES]
            rows.append(f"| `{name}`{needs((family, name), notes)} | " + " | ".join(cells) + " |")
    listed = [f"{number}. {text}" for number, text in enumerate(notes.texts.values(), 1)]
    return "\n".join([INTRODUCTION, *rows, "", *listed, ""])


def needs(kind: Kind, notes: Notes) -> str:
    """Return the numbers of the notes that tell what a kind needs beside any other."""
    numbers = [notes.number(flag, f"Needs `{flag}`.") for flag in verdict(kind).settings]
    return "".join(f" ({number})" for number in numbers)


def cell(kind: Kind, family: str, notes: Notes) -> str:
    """Return how a kind goes with those of a family, in a few words."""
    if family == kind[0]:
        return ""
    with_each = {name: tuple(sorted((kind, (family, name)), key=order)) for name in FAMILIES[family]}
    if not set(with_each.values()) <= set(pairs()):
        return "—"
    refused: dict[int, list[str]] = {}
    numbers = set()
    for name, pair in with_each.items():
        if not verdict(*pair).recipe:
            refused.setdefault(notes.number(*reason(pair)), []).append(name)
        numbers |= {notes.number((flag, pair[0]), asked(flag, pair)) for flag in extra(*pair)}
    text = "; ".join(f"not {', '.join(f'`{name}`' for name in names)} ({n})" for n, names in refused.items())
    if sum(map(len, refused.values())) == len(with_each):
        text = "no " + "".join(f"({n})" for n in refused)
    return " ".join([text or "✓", *(f"({number})" for number in sorted(numbers))])


def order(kind: Kind) -> int:
    """Return where the kind's family is among all."""
    return list(FAMILIES).index(kind[0])


def reason(pair: tuple[Kind, ...]) -> tuple[Any, str]:
    """Return what the refusals of pairs for the same reason have in common, and this one."""
    refusal = verdict(*pair).refusal.removeprefix("recipe: ")
    names = {name for family in FAMILIES.values() for name in family}
    said = re.findall(r"[\w.-]+", refusal.partition(": use ")[0].lower())
    return tuple(word for word in said if word not in names), f"“{refusal}”"


def asked(flag: str, pair: tuple[Kind, ...]) -> str:
    """Return what settings the first of the pair needs for kinds of the other family."""
    (_, name), (family, _) = pair
    others = [other for other in FAMILIES[family] if flag in extra(pair[0], (family, other))]
    return f"`{name}` with {' or '.join(f'`{other}`' for other in others)} needs `{flag}`."


def extra(a: Kind, b: Kind) -> list[str]:
    """Return the settings that the two need together, but neither by itself."""
    known = {*verdict(a).settings, *verdict(b).settings}
    for one, other in ((a, b), (b, a)):
        usual = USUAL.get(one[0])
        known |= set(verdict(other, usual).settings) if usual and usual[0] != other[0] else set()
    return [flag for flag in verdict(a, b).settings if flag not in known]


if __name__ == "__main__":
    print(page(), end="")
