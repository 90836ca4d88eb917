"""The layer order: a module imports from its own layer or lower ones, and never in a circle."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rlsparse"

LAYERS = (
    # 0: records, formulas and files, which know nothing of policies or environments
    {
        "arrays",
        "data",
        "errors",
        "version",
        "interval",
        "kinds",
        "losses",
        "member_streams",
        "momentum",
        "normalise",
        "optimiser",
        "packed_matrix",
        "params",
        "process",
        "projection",
        "recorded",
        "returns",
        "set_gains",
        "solve",
        "torch_optimiser",
    }
    | {"statistics", "storage", "streams"},
    # 1: the exchangeable parts
    {"advantage", "explore", "fisher", "likelihood", "objective", "policy", "sim", "sparse", "trust_region"},
    # 2: what acts on a population
    {"best_episodes", "imitation"}
    | {"evaluate", "explorer", "learner", "minibatch", "natural_gradient", "ppo", "probe_episodes", "rollout", "trpo"}
    | {"device_episodes", "device_rollout", "evaluation_rows", "stopped"}
    | {"algorithm", "critic", "packed_update", "variance_reduced"},
    # 3: a run and its description
    {"comparison", "curves"}
    | {"algorithm_limits", "objectives"}
    | {"cards", "checkpoint", "events", "explore_limits", "loop", "plan", "policy_file", "progress", "recipe", "runs"}
    | {"advantage_limits", "deploy", "device", "simulator_limits", "replay", "sparse_limits", "summary", "survey"},
    # 4: commands and the outside world
    {"__main__", "command_line", "compare", "components", "default_recipe"}
    | {"export", "listing", "play", "plot", "report", "sb3"}
    | {"landscape", "landscape_account", "landscape_picture", "train", "video"},
)
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}

# Which parts of the library may import these, lazily too; any other package may be imported anywhere.
ALLOWED_IMPORTERS = {
    "stable_baselines3": {"sb3"},
    "sb3_contrib": {"sb3"},
    "mujoco": {"sim", *LAYERS[4]},
    "mujoco_warp": {"sim"},
    "warp": {"sim"},
    "matplotlib": LAYERS[4],
    "tyro": LAYERS[4],
    "imageio": LAYERS[4],
    "numba": {"packed_matrix"},
    "onnx": {"deploy"},
    "onnxruntime": {"deploy"},
    "imageio_ffmpeg": LAYERS[4],
    "PIL": LAYERS[4],
    "tensorboard": {"curves", "events", *LAYERS[4]},
}
# A distribution that installs a module of another name.
DISTRIBUTION_OF = {
    "stable_baselines3": "stable-baselines3",
    "sb3_contrib": "sb3-contrib",
    "tomli_w": "tomli-w",
    "pytorch_optimizer": "pytorch-optimizer",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "mujoco_warp": "mujoco-warp",
    "warp": "warp-lang",
}
# Installed by gymnasium[mujoco] and matplotlib, which say so in their own metadata.
BROUGHT_ALONG = {"imageio", "PIL", "packaging"}

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = sorted(set(FILES) - {"rlsparse"})


def part(module):
    """`rlsparse.sim.cpu` belongs to the part `sim`."""
    return module.split(".")[1]


def imports(module, *, top_level_only=False):
    """Full names of the modules that `module` imports; lazily too, unless `top_level_only`."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in submodules if name in FILES]
            yield from found
            if len(found) < len(submodules):
                yield node.module


def own_imports(module):
    return {name for name in imports(module) if name.split(".")[0] == "rlsparse" and name != module}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_layer(module):
    assert part(module) in LAYER_OF, f"give {part(module)} a place in LAYERS"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_or_sideways(module):
    assert "rlsparse" not in own_imports(module), "a module imports modules, not the package root"
    upward = {name for name in own_imports(module) if LAYER_OF[part(name)] > LAYER_OF[part(module)]}
    assert not upward


def test_no_import_cycle():
    graph = {module: own_imports(module) & set(FILES) for module in MODULES}
    while graph:
        leaves = [module for module, needed in graph.items() if not needed & set(graph)]
        assert leaves, f"a cycle among {sorted(graph)}"
        for module in leaves:
            del graph[module]


@pytest.mark.parametrize("module", MODULES)
def test_outside_packages_stay_where_they_belong(module):
    for name in imports(module):
        allowed = ALLOWED_IMPORTERS.get(name.split(".")[0])
        assert allowed is None or part(module) in allowed, f"{module} imports {name}"


# Imported once tensors are asked for; the first is copied beside an exported policy for users of torch.
TORCH_FIRST = {
    "rlsparse.deploy.torch_policy",
    "rlsparse.device_episodes",
    "rlsparse.device_rollout",
    "rlsparse.sim.counter_random",
    "rlsparse.sim.warp",
    "rlsparse.sim.warp_physics",
}


@pytest.mark.parametrize("module", [name for name in MODULES if part(name) != "sb3" and name not in TORCH_FIRST])
def test_torch_is_imported_only_when_it_is_needed(module):
    tops = {name.split(".")[0] for name in imports(module, top_level_only=True)}
    assert "torch" not in tops


def test_cards_are_read_without_any_package():
    outside = {name.split(".")[0] for name in imports("rlsparse.cards", top_level_only=True)}
    assert outside <= set(sys.stdlib_module_names) | {"rlsparse"}
    assert own_imports("rlsparse.cards") == {"rlsparse.errors", "rlsparse.projection"}
    assert set(imports("rlsparse.projection", top_level_only=True)) <= set(sys.stdlib_module_names)


def test_every_imported_package_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    declared = {requirement.split(">")[0].split("[")[0] for requirement in requirements}
    for module in MODULES:
        for name in {name.split(".")[0] for name in imports(module)} - {"rlsparse", *BROUGHT_ALONG}:
            known = name in sys.stdlib_module_names or DISTRIBUTION_OF.get(name, name) in declared
            assert known, f"{module} imports {name}, which pyproject.toml does not ask for"
