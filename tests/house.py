"""The measures of the house: how large each room is, and how far one must read. `python tests/house.py` prints them.

A code line is a line with a token that is no comment and no docstring.
"""

import ast
import io
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "rlsparse"

WINGS = ("compare/", "sb3/", "trained/", "study/")
"""Rooms that training does not enter."""

GPU = ("sim/warp", "sim/counter_random", "sim/collect_device", "learner/recorded", "run/device")
"""What is there for a GPU alone."""

LEAVES = {
    "learner/member_numbers": "numbers that differ between members",
    "algorithms/objectives": "what PPO may follow instead of the clipped surrogate",
    "algorithms/cloning": "HPT",
    "algorithms/reuse": "PPO on the last rollouts",
    "algorithms/variance_reduced": "N-PG-IGT and N-HARPG",
    "algorithms/torch_optimiser": "diffGrad, AdamP, SGDP",
    "advantage/vtrace": "V-trace",
    "advantage/group_relative": "GRPO and its family",
    "advantage/scaffold": "help for groups",
    "advantage/submodular": "marginal gains as rewards",
    "advantage/set_functions": "set functions of visited states",
    "advantage/points": "what they make of points",
    "advantage/device_gains": "set functions on a GPU",
    "advantage/device_gains_envs": "environments there that count gains",
    "sparse/dcil": "DCIL",
    "sparse/ast": "AST",
    "sparse/saliency": "weights dropped by their worth to the policy",
    "sparse/packed_update": "updates without absent weights",
    "sparse/packed_matrix": "their compiled products",
    "explore/racing": "a race of candidates",
    "explore/in_rollout": "probing inside the rollout",
    "explore/surrogate": "scores without a step",
    "explore/controls": "controls of empty-space search",
    "explore/directions": "directions in the span of the anchors, for proposals that are leaves",
    "explore/propose": "a normal distribution and a line as proposals",
    "explore/evolution": "proposals that learn from scores",
    "explore/gaussian_process": "ascent on a fitted surface",
    "explore/parts": "episodes of a probe cut into parts for other processes, and put together again",
    "explore/ray_workers": "those processes, as workers of Ray",
    "explore/ray_connection": "the cluster that they belong to",
    "sim/own_tasks": "tasks of users",
    "sim/single_task": "single environments of those",
    "sim/own_models": "their models",
    "sim/gymnasium_models": "models of Gymnasium's tasks",
    "learner/activations": "ELU, ReLU, SiLU, layer normalisation",
    "learner/state_dependent": "a deviation of actions that depends on the state",
    "sim/task_check": "whether a user's task can be carried out",
    "sim/contact": "forces of contacts, for tasks that read them",
    "sim/batched": "which class simulates a task",
    "sim/varied": "which models change at every start",
    "sim/varied_warp": "environments whose models do, on a GPU",
    "sim/model_names": "what a user's task asks its model for by name",
    "sim/counter_numbers": "random numbers for many episodes at once",
    "sim/sensing": "errors of sensors, late actions, a memory of observations",
    "sim/sensing_warp": "the same on a GPU",
    "sim/varied_envs": "environments whose models do",
    "sim/locomotion": "MuJoCo tasks of robots that move",
    "sim/fixed_base": "MuJoCo tasks of arms and pendulums",
    "sim/curriculum": "numbers of a task that change while training",
    "sim/curriculum_envs": "environments whose task changes",
    "sim/restarts": "environments that are made anew when they raise",
    "sim/watchdog": "environments that hang",
    "sim/workers": "environments in several processes",
    "sim/processes": "those processes, as their parent sees them",
    "sim/worker": "what each of them does",
    "sim/registration": "the tasks in Gymnasium's registry",
    "run/like": "new runs like old ones",
    "run/warm_start": "runs that begin with a trained policy",
    "run/named_policy": "the file of a policy that is named by its run or card",
    "train/from_python": "the command in Python",
    "run/from_python": "recipes that Python code asks for",
    "run/callable_module": "functions that are modules",
    "run/other_names": "what other libraries call our flags",
    "run/progress_line": "progress on a terminal",
    "run/tensorboard": "TensorBoard events",
    "run/events_of_runs": "TensorBoard events of runs that have none",
    "run/callbacks": "code of a user's own that watches and steers a run",
    "run/torch_loop": "ExploRLer in any training loop in torch",
    "run/torch_parameters": "parameters of a torch policy as one vector",
    "run/probe_report": "what probing in a loop of others has cost and brought",
    "sim/user_envs": "environments that a user's function makes",
    "run/compile_kernels": "kernels of the GPU simulator compiled ahead",
    "run/listing": "lists of agents and environments",
    "run/columns": "tables on a terminal",
    "run/environment_check": "an environment tried with random actions",
    "run/loggers": "what callbacks for services of experiments have in common",
    "run/weights_and_biases": "numbers for Weights & Biases",
    "run/mlflow": "numbers for MLflow",
}
"""Files that can be deleted with their word in one union, and nothing else breaks."""

UNIONS = {
    "learner/layout",
    "__init__",
    "algorithms/kinds",
    "algorithms/choices",
    "advantage/kinds",
    "advantage/group_relative",
    "sparse/config",
    "sparse/topology",
    "explore/explorler",
    "explore/workers",
    "run/choose",
    "run/reporters",
    "run/recipe",
    "run/command_line",
    "run/foreign",
    "run/from_python",
    "sim/__init__",
    "sim/tasks",
    "train/__init__",
}
"""Files that may name leaves: each has a union of kinds, a field of a leaf's type, a flag or a public name for it."""

READING = {
    "PPO, from the loop to the gradient": ("loop", "algorithms/ppo", "algorithms/surrogate"),
    "PPO, everything it touches": (
        *("loop", "algorithms/ppo", "algorithms/surrogate", "sim/collect"),
        *("advantage/estimators", "learner/network", "learner/learner"),
    ),
    "TRPO": ("loop", "algorithms/trpo", "algorithms/natural_gradient"),
    "ExploRLer": (
        *("explore/explorler", "explore/explorer", "explore/schedule", "explore/anchors"),
        *("explore/empty_space", "explore/probe", "explore/choice"),
    ),
    "RigL": ("sparse/rules", "sparse/masks", "sparse/topology"),
}
"""Files to read in order to understand a method."""


@cache
def modules() -> dict[str, Path]:
    """Return every file of the package by its place, such as learner/network."""
    return {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


@cache
def code_lines(module: str) -> int:
    """Count the code lines of a module."""
    docstrings: set[int] = set()
    for node in ast.walk(tree(module)):
        for statement in getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                docstrings |= set(range(statement.lineno, (statement.end_lineno or 0) + 1))
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(modules()[module].read_text(encoding="utf-8")).readline):
        if token.type not in blank:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def all_lines(module: str) -> int:
    """Count all lines of a module."""
    return modules()[module].read_text(encoding="utf-8").count("\n")


def trunk() -> list[str]:
    """Return the modules of the trunk: all but wings, leaves and what is for a GPU."""
    return [m for m in modules() if not m.startswith((*WINGS, *GPU)) and m not in LEAVES]


def root_entries() -> list[str]:
    """Return what a reader sees in the package's root beside __init__.py and py.typed."""
    hidden = ("__pycache__", "__init__.py", "py.typed", "_cards")
    return sorted(path.name for path in PACKAGE.iterdir() if path.name not in hidden)


def functions() -> list[tuple[int, str]]:
    """Return the length of every function, the longest first, with its place."""
    defined = [(m, node) for m in modules() for node in ast.walk(tree(m)) if isinstance(node, ast.FunctionDef)]
    lengths = [((node.end_lineno or 0) - node.lineno + 1, f"{m}:{node.lineno} {node.name}") for m, node in defined]
    return sorted(lengths, reverse=True)


def component_classes() -> dict[str, str]:
    """Return the room of every component: the frozen dataclasses that a recipe may hold."""
    from dataclasses import fields, is_dataclass
    from typing import get_args, get_type_hints

    from rlsparse.run.recipe import Recipe

    found: dict[str, str] = {}

    def see(hint: object) -> None:
        for inner in get_args(hint):
            see(inner)
        if isinstance(hint, type) and is_dataclass(hint) and hint.__name__ not in found:
            found[hint.__name__] = hint.__module__.split(".")[1]
            hints = get_type_hints(hint)
            for f in fields(hint):
                see(hints[f.name])

    see(Recipe)
    return {name: room for name, room in found.items() if name not in ("Recipe", "ActorCritic")}


def of_other_packages(module: str) -> set[str]:
    """Return the names that a module takes from other packages: Stable-Baselines3 has a PPO too."""
    imports = [node for node in ast.walk(tree(module)) if isinstance(node, ast.ImportFrom)]
    return {
        a.asname or a.name for node in imports if not (node.module or "").startswith("rlsparse") for a in node.names
    }


def questions_of_class() -> list[str]:
    """Return every `isinstance` or `issubclass` that names a component outside of the component's own room."""
    rooms, found = component_classes(), []
    for module in modules():
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
                names = {x.id for x in ast.walk(node.args[1]) if isinstance(x, ast.Name)} - of_other_packages(module)
                foreign = {name for name in names & set(rooms) if rooms[name] != module.split("/")[0]}
                found += [f"{module}:{node.lineno} {name}" for name in sorted(foreign)]
    return found


@cache
def imported_by() -> dict[str, set[str]]:
    """Return for every module the modules that import it, lazily or for types too."""
    places = {f"rlsparse.{m.replace('/', '.')}": m for m in modules()}
    found: dict[str, set[str]] = {m: set() for m in modules()}
    for module in modules():
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ImportFrom):
                names = {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
                for name in names & set(places):
                    found[places[name]].add(module)
    return found


def importers_of(module: str) -> set[str]:
    """Return the modules that import this one."""
    return imported_by()[module] - {module}


def report() -> str:
    """Return the measures as lines of text."""
    by_room = Counter[str]()
    for module in modules():
        by_room[module.split("/")[0] if "/" in module else "root"] += code_lines(module)
    kept = [m for m in modules() if not m.endswith("__init__")]
    lines = [
        f"library            {sum(by_room.values()):,} code lines in {len(kept)} files",
        f"trunk              {sum(map(code_lines, trunk())):,} code lines in {len(trunk())} files",
        f"leaves             {sum(map(code_lines, LEAVES)):,} code lines in {len(LEAVES)} files",
        "by room            " + ", ".join(f"{room} {count:,}" for room, count in sorted(by_room.items())),
        f"root               {len(root_entries())} entries: {', '.join(root_entries())}",
        f"longest file       {max((all_lines(m), m) for m in modules())}",
        f"longest function   {functions()[0]}",
        f"questions of class {len(questions_of_class())} outside the component's room",
    ]
    for what, files in READING.items():
        lines.append(f"{what}: {len(files)} files, {sum(map(all_lines, files)):,} lines")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
