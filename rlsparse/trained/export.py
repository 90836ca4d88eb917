"""`rlsparse export`: write a policy as small files that run without this library."""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rlsparse.errors import DivergenceError, RlsparseError, StorageError, UsageError
from rlsparse.run.command_line import fail_in_one_line, parse
from rlsparse.run.storage import storage_errors, write_atomic
from rlsparse.run.version import __version__

if TYPE_CHECKING:  # imported once the command line is known to be good
    import gymnasium
    import numpy as np

    from rlsparse.learner.network import Actors
    from rlsparse.trained.compact import Network
    from rlsparse.trained.export_account import Export, Written
    from rlsparse.trained.export_formats import Form, Format
    from rlsparse.trained.parity import Trial

TOLERANCE = {"fp16": 1e-2, "fp32": 1e-4}
"""Largest difference of an action, as a share of half its range, that weights of a precision may make."""
ROUNDING = 10.0
"""Differences of so many times what float32 rounding does to the trained policy itself are right in any case."""


@dataclass(frozen=True)
class ExportFlags:
    """Write the deterministic policy of a run or of an agent card as small files, from raw observation to action."""

    policy: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR_or_CARD")]
    """A run directory, or an agent card that ships a trained policy (rlsparse agents lists them)."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ENV")] = None
    """Environment; needed for a card with policies for several, otherwise the one the policy was trained on."""
    format: tuple[Literal["numpy", "compact", "torch", "onnx"], ...] = ("numpy",)
    """One or more: numpy, a packed file and the reader it needs; compact, the packed file alone; torch, safetensors
    and a module; onnx."""
    out: Path = Path("exported")
    """Folder for the files; none that exists is replaced."""
    precision: Literal["auto", "fp16", "fp32"] = "auto"
    """Of weights in the packed file; auto is fp16 if no action moves by more than 1 % of half its range."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Which member of the population, by its seed; the first one if not given."""
    density: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Which of the networks that --sparse ast trained at once; the densest if not given."""
    json: bool = False
    """Print one JSON object instead of the tables."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with the code of what went wrong, if anything did."""
    with fail_in_one_line():
        run_command(sys.argv[1:] if arguments is None else arguments)


def run_command(arguments: Sequence[str]) -> None:
    """Parse and do what `rlsparse export` is told."""
    flags = parse(ExportFlags, arguments, prog="rlsparse export")
    if not flags.format:
        raise UsageError("--format needs a value: one or more of numpy, compact, torch, onnx")
    if "onnx" in flags.format and not (find_spec("onnx") and find_spec("onnxruntime")):
        raise UsageError("--format onnx needs onnx and onnxruntime: pip install 'rlsparse[onnx]'")

    from rlsparse.trained.export_account import summary, text
    from rlsparse.trained.export_formats import FORMS

    forms = {name: FORMS[name] for name in flags.format}
    check_out(flags.out, forms)
    export = make_export(flags, forms)
    print(json.dumps(summary(export)) if flags.json else text(export))


def check_out(out: Path, forms: "dict[Format, Form]") -> None:
    """Raise UsageError if a file is in the way, StorageError if none can be written."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: expected a folder, or a name for a new one")
    for name in [name for form in forms.values() for name in form.files]:
        if (out / name).exists():
            raise UsageError(f"{out / name} exists already: name a new --out, or remove it")
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise StorageError(f"cannot write in {nearest}: name another place by --out")


def make_export(flags: ExportFlags, forms: "dict[Format, Form]") -> "Export":
    """Find the policy, make it smaller, try what is to be written, write it."""
    from rlsparse.run import cards, policy_file
    from rlsparse.trained import play
    from rlsparse.trained.compact import compact, fold
    from rlsparse.trained.export_account import Export

    path, env_id = play.find_policy(flags.policy, flags.env)
    policy = policy_file.load(path)
    if flags.density is not None:
        policy = policy.at(flags.density)
    env_id = cards.trust_environment(env_id or policy.recipe.env, flags.env and env_id, path)
    actors = policy.actors.only(play.member_of(policy, flags.seed, path))
    env = play.make(env_id, policy, draw=False)
    with contextlib.closing(env):
        trial, low, high = try_out(env, actors)
    whole = fold(actors.layout.layers(actors.params[0], "actor"), actors.scale, low, high)
    network = compact(whole)
    about = {
        "env": env_id,
        "seed": actors.seeds[0],
        "source": flags.policy,
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        "weights": whole.num_weights,
        "weights_if_dense": sum(weight.size for weight, _ in whole.layers),
        "made_by": f"rlsparse {__version__}",
    }
    tried = [encode(flags, name, form, network, about, trial) for name, form in forms.items()]
    write(flags.out, {file: content for _, files in tried for file, content in files.items()})
    written = [one for one, _ in tried]
    others = play.seeds_text(policy) if len(policy.actors.seeds) > 1 else ""
    return Export(env_id, actors.seeds[0], others, whole, network, trial, written)


def try_out(env: "gymnasium.Env", actors: "Actors") -> "tuple[Trial, np.ndarray, np.ndarray]":
    """Let the trained policy act, in an episode and on random observations; returns the action range too.

    Raises DivergenceError if an action is not finite.
    """
    import numpy as np

    from rlsparse.learner.streams import env_seeds
    from rlsparse.sim.collect import ActionBox
    from rlsparse.trained.parity import Trial, exact, random_observations
    from rlsparse.trained.play import run_episode

    seen = []

    def act(obs: np.ndarray) -> np.ndarray:
        seen.append(obs[0, 0].astype(np.float32))
        return actors(obs)

    run_episode(env, act, env_seeds(actors.seeds[0], "play", 1)[0])
    obs = np.concatenate([np.stack(seen), random_observations(actors.scale, np.random.default_rng(0))])
    low, high = (bound.ravel() for bound in (env.action_space.low, env.action_space.high))  # type: ignore[attr-defined]
    to_native = ActionBox(low, high)
    actions, exact_actions = (to_native(policy(obs[None])[0]) for policy in (actors, exact(actors)))
    if not np.isfinite(actions).all():
        raise DivergenceError("the policy's action is not finite for some observation: nothing was written")
    return Trial(obs, actions, exact_actions, (high - low) / 2, len(seen)), low, high


def encode(
    flags: ExportFlags, name: "Format", form: "Form", network: "Network", about: dict[str, Any], trial: "Trial"
) -> "tuple[Written, dict[str, bytes]]":
    """Return the files of one format, which act as the trained policy does; raises RlsparseError if they do not."""
    import numpy as np

    from rlsparse.trained.compact import rounded
    from rlsparse.trained.export_account import Written
    from rlsparse.trained.export_formats import WEIGHTS

    asked = form.precisions if flags.precision == "auto" or len(form.precisions) == 1 else (flags.precision,)
    remark = ""
    for precision in asked:
        small = rounded(network, WEIGHTS[precision])
        if not all(np.isfinite(weight).all() for weight, _ in small.layers):
            remark = f"a weight is too large for {precision}"
            continue
        files = form.write(small, precision, about)
        errors = errors_of(files[form.policy], form, trial)
        if max(errors) <= max(TOLERANCE[precision], ROUNDING * trial.rounding) or flags.precision == "fp16":
            break
        remark = f"with {precision} weights an action would differ by {max(errors):.1e} of half its range"
    else:
        raise RlsparseError(f"{name}: {remark}: nothing was written")
    paths = [str(flags.out / file) for file in files]
    return Written(name, paths, precision, len(files[form.policy]), *errors, remark), files


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write all files, each whole or not at all."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomic(folder / name, content)


def errors_of(content: bytes, form: "Form", trial: "Trial") -> tuple[float, float]:
    """Try a policy from its file, as its user will."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / form.policy
        path.write_bytes(content)
        return trial.errors(form.load(path))
