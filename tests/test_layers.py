"""The order of the rooms: a room imports from the rooms before it, and modules never import in a circle."""

import ast
import sys
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rlsparse"

FLOORS = (
    {"errors"},
    {"learner"},
    {"advantage", "sparse"},
    {"algorithms", "sim"},
    {"explore"},
    {"run"},
    {"loop", "compare", "sb3"},
    {"trained"},
    {"train"},
    {"study"},
    {"__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

OUTSIDE = {
    "stable_baselines3": {"sb3"},
    "sb3_contrib": {"sb3"},
    "mujoco": {"sim", "trained"},
    "mujoco_warp": {"sim"},
    "warp": {"sim"},
    "matplotlib": {"compare", "trained"},
    "tyro": {"run", "train", "compare", "trained", "study"},
    "imageio": {"trained"},
    "imageio_ffmpeg": {"trained"},
    "PIL": {"compare", "trained"},
    "numba": {"sparse"},
    "onnx": {"trained"},
    "onnxruntime": {"trained"},
    "tensorboard": {"run", "compare"},
    "jinja2": {"compare"},
}
"""Which rooms may import these, lazily too; any other package may be imported anywhere."""

DISTRIBUTION_OF = {
    "stable_baselines3": "stable-baselines3",
    "sb3_contrib": "sb3-contrib",
    "tomli_w": "tomli-w",
    "annotated_types": "annotated-types",
    "pytorch_optimizer": "pytorch-optimizer",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "mujoco_warp": "mujoco-warp",
    "warp": "warp-lang",
}
"""A distribution that installs a module of another name."""

BROUGHT_ALONG = {"imageio", "PIL", "packaging"}
"""Installed by gymnasium[mujoco] and matplotlib, which say so in their own metadata."""

TORCH_FIRST = {
    "rlsparse.advantage.device_gains",
    "rlsparse.advantage.device_gains_envs",
    "rlsparse.sim.collect_device",
    "rlsparse.sim.counter_random",
    "rlsparse.run.torch_loop",
    "rlsparse.run.torch_parameters",
    "rlsparse.sim.sensing_warp",
    "rlsparse.sim.task_check",
    "rlsparse.sim.varied_warp",
    "rlsparse.sim.warp",
    "rlsparse.sim.warp_kernels",
    "rlsparse.sim.warp_numbers",
    "rlsparse.sim.warp_physics",
}
"""Imported once tensors are asked for."""

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = sorted(set(FILES) - {"rlsparse"})


def room(module):
    """`rlsparse.sim.cpu` lies in the room `sim`."""
    return module.split(".")[1]


@cache
def parsed(module):
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imports(module, *, top_level_only=False, types_too=True):
    """Full names of the modules that `module` imports; lazily too, unless `top_level_only`; for types, if asked."""
    body = [node for node in parsed(module).body if types_too or not is_type_checking(node)]
    nodes = body if top_level_only else [inner for node in body for inner in ast.walk(node)]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in submodules if name in FILES]
            yield from found
            if len(found) < len(submodules):
                yield node.module


def is_type_checking(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def own_imports(module, **which):
    return {
        name
        for name in imports(module, **which)
        if name.split(".")[0] == "rlsparse" and name not in (module, "rlsparse")
    }


def test_imports_point_to_the_same_room_or_to_earlier_ones():
    arrows = {(module, name) for module in MODULES for name in own_imports(module)}
    up = {(a, b) for a, b in arrows if room(a) != room(b) and FLOOR_OF[room(b)] >= FLOOR_OF[room(a)]}
    assert not up


def test_no_import_cycle():
    graph = {module: own_imports(module, types_too=False) & set(FILES) for module in MODULES}
    while graph:
        leaves = [module for module, needed in graph.items() if not needed & set(graph)]
        assert leaves, f"a cycle among {sorted(graph)}"
        for module in leaves:
            del graph[module]


def test_outside_packages_stay_where_they_belong():
    seen = {(module, name.split(".")[0]) for module in MODULES for name in imports(module)}
    assert not {(module, name) for module, name in seen if name in OUTSIDE and room(module) not in OUTSIDE[name]}


def test_torch_is_imported_only_when_it_is_needed():
    tops = {module: {x.split(".")[0] for x in imports(module, top_level_only=True)} for module in MODULES}
    assert not {m for m, names in tops.items() if "torch" in names and room(m) != "sb3" and m not in TORCH_FIRST}


def test_cards_are_read_without_any_package_but_that_of_bounds():
    loaded, outside, waiting = set(), set(), ["rlsparse.run.cards"]
    while waiting:
        loaded.add(module := waiting.pop())
        found = set(imports(module, top_level_only=True))
        waiting += found & set(MODULES) - loaded
        outside |= {name.split(".")[0] for name in found - set(FILES)}
    assert outside <= set(sys.stdlib_module_names) | {"annotated_types"}


def test_every_imported_package_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    declared = {requirement.split(">")[0].split("[")[0] for requirement in requirements}
    for module in MODULES:
        for name in {name.split(".")[0] for name in imports(module)} - {"rlsparse", *BROUGHT_ALONG}:
            known = name in sys.stdlib_module_names or DISTRIBUTION_OF.get(name, name) in declared
            assert known, f"{module} imports {name}, which pyproject.toml does not ask for"
