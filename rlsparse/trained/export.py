"""`rlsparse export`: write a policy as small files that run without this library."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlsparse.errors import RlsparseError, StorageError, UsageError
from rlsparse.run.command_line import fail_in_one_line, parse
from rlsparse.run.foreign import contained
from rlsparse.run.named_policy import find_policy
from rlsparse.run.storage import storage_errors, write_atomic
from rlsparse.run.version import __version__
from rlsparse.trained.policy import Member, PolicyFlags, closing, load_member, make_environment

if TYPE_CHECKING:  # imported once the command line is known to be good
    from rlsparse.trained.compact import Network
    from rlsparse.trained.export_formats import Format
    from rlsparse.trained.parity import Trial

TOLERANCE = {"fp16": 1e-2, "fp32": 1e-4}
"""Largest difference of an action, as a share of half its range, that weights of a precision may make."""
ROUNDING = 10.0
"""Differences of so many times what float32 rounding does to the trained policy itself are right in any case."""


@dataclass(frozen=True)
class ExportFlags(PolicyFlags):
    """Write the deterministic policy of a run or of an agent card as small files, from raw observation to action."""

    format: tuple[Literal["numpy", "onnx"], ...] = ("numpy",)
    """One or both: numpy, a packed file and the reader it needs; onnx."""
    out: Path = Path("exported")
    """Folder for the files; none that exists is replaced."""
    precision: Literal["auto", "fp16", "fp32"] = "auto"
    """Of weights in the packed file; auto is fp16 if no action moves by more than 1 % of half its range."""
    json: bool = False
    """Print one JSON object instead of the tables."""


@dataclass(frozen=True)
class Written:
    """One format of an exported policy."""

    format: str
    files: list[str]
    """Paths; the first is the policy."""
    weights: str
    """fp16 or fp32."""
    bytes: int
    """Of the policy's file."""
    error: float
    """Largest difference of any action on real observations, as a share of half its range."""
    random_error: float
    """The same on random observations."""
    remark: str = ""


@dataclass(frozen=True)
class Export:
    """A policy before and after it was made smaller, and what was written of it."""

    member: Member
    whole: "Network"
    network: "Network"
    trial: "Trial"
    written: Sequence[Written]

    @property
    def dense_bytes(self) -> int:
        """Size of the actor as it was trained: all its weights and biases in float32."""
        return 4 * sum(weight.size + bias.size for weight, bias in self.whole.layers)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with the code of what went wrong, if anything did."""
    with fail_in_one_line():
        run_command(sys.argv[1:] if arguments is None else arguments)


def run_command(arguments: Sequence[str]) -> None:
    """Parse the arguments of `rlsparse export` and do what they say."""
    flags = parse(ExportFlags, arguments, prog="rlsparse export")
    if not flags.format:
        raise UsageError("--format needs a value: one or more of numpy, onnx")
    if "onnx" in flags.format and not (find_spec("onnx") and find_spec("onnxruntime")):
        raise UsageError("--format onnx needs onnx and onnxruntime: pip install 'rlsparse[onnx]'")
    check_out(flags.out, flags.format)
    export = make_export(flags)
    print(json.dumps(summary(export)) if flags.json else text(export))


def check_out(out: Path, formats: "Sequence[Format]") -> None:
    """Raise UsageError if a file is in the way, StorageError if none can be written."""
    from rlsparse.trained.export_formats import FORMS

    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: expected a folder, or a name for a new one")
    for name in (file for format in formats for file in FORMS[format].files):
        if (out / name).exists():
            raise UsageError(f"{out / name} exists already: name a new --out, or remove it")
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise StorageError(f"cannot write in {nearest}: name another place by --out")


def make_export(flags: ExportFlags) -> Export:
    """Find the policy, make it smaller, try what is to be written, write it."""
    from rlsparse.trained.compact import compact, fold
    from rlsparse.trained.parity import try_out

    member = load_member(*find_policy(flags.policy, flags.env, flags.best), flags)
    actors = member.actors
    with contained(), closing(make_environment(member)) as env:
        trial = try_out(env, actors)
    layout = actors.layout
    whole = fold(layout, actors.params[0], actors.scale, trial.low, trial.high)
    network, trial = compact(whole), replace(trial, obs=trial.obs[:, : whole.obs_size])
    about = {
        "env": member.env_id,
        "seed": member.seed,
        "source": flags.policy,
        "source_sha256": hashlib.sha256(member.path.read_bytes()).hexdigest()[:16],
        "weights": whole.num_weights,
        "weights_if_dense": whole.num_dense_weights,
        "activation": layout.activation,
        "layer_normalisation": layout.layer_normalisation,
        "made_by": f"rlsparse {__version__}",
    }
    encoded = [encode(flags, name, network, about, trial) for name in dict.fromkeys(flags.format)]
    with storage_errors(flags.out):
        flags.out.mkdir(parents=True, exist_ok=True)
    for written, contents in encoded:
        for path, content in zip(written.files, contents, strict=True):
            write_atomic(Path(path), content)
    return Export(member, whole, network, trial, [written for written, _ in encoded])


def encode(
    flags: ExportFlags, name: "Format", network: "Network", about: dict[str, Any], trial: "Trial"
) -> tuple[Written, list[bytes]]:
    """Return the files of one format, which act as the trained policy does; raises RlsparseError if they do not."""
    import numpy as np

    from rlsparse.trained.compact import rounded
    from rlsparse.trained.export_formats import FORMS, WEIGHTS

    form, remark = FORMS[name], ""
    asked = form.precisions if flags.precision == "auto" or len(form.precisions) == 1 else (flags.precision,)
    for precision in asked:
        small = rounded(network, WEIGHTS[precision])
        if not all(np.isfinite(weight).all() for weight, _ in small.layers):
            remark = f"a weight is too large for {precision}"
            continue
        files = form.write(small, precision, about)
        with tempfile.TemporaryDirectory() as folder:  # tried from its file, as its user will
            path = Path(folder) / form.files[0]
            path.write_bytes(files[path.name])
            errors = trial.errors(form.load(path))
        if (
            max(errors) <= max(TOLERANCE[precision], ROUNDING * trial.rounding)
            or precision == flags.precision == "fp16"
        ):
            paths = [str(flags.out / file) for file in files]
            written = Written(name, paths, precision, len(files[path.name]), *errors, remark)
            return written, list(files.values())
        remark = f"with {precision} weights an action would differ by {max(errors):.1e} of half its range"
    raise RlsparseError(f"{name}: {remark}: nothing was written")


def text(export: Export) -> str:
    """Return what was exported as tables."""
    whole, network, trial = export.whole, export.network, export.trial
    units, left = (sum(x.widths[1:-1]) for x in (whole, network))
    unread = sorted(set(range(network.obs_size)) - set(network.inputs.tolist()))
    but = f", not {', '.join(map(str, unread))}" if unread else ""
    parts = [
        f"{export.member.title} on {export.member.env_id}",
        f"reads {len(network.inputs)} of {network.obs_size} observations{but}; "
        f"{units - left} of {units} hidden units were dead\n",
        _table(_layer_rows(whole, network), left=1),
        "",
        _table(_file_rows(export), left=3),
        f"\ndense: {export.dense_bytes:,} bytes, all weights and biases as fp32",
        "error: largest difference of an action from the trained policy's, as a share of half its range, on "
        f"{trial.num_real:,} observations of an episode; random: on {len(trial.obs) - trial.num_real:,} random ones",
        *(f"{one.format}: {one.remark}" for one in export.written if one.remark),
    ]
    return "\n".join(parts)


def _layer_rows(whole: "Network", network: "Network") -> list[list[str]]:
    rows = [["layer", "inputs x units", "weights", "of them", "inputs x units left", "weights left"]]
    for i, ((before, _), (after, _)) in enumerate(zip(whole.layers, network.layers, strict=True), 1):
        present, left = int((before != 0).sum()), int((after != 0).sum())
        shape, shape_left = (" x ".join(map(str, weight.shape)) for weight in (before, after))
        rows.append([str(i), shape, f"{present:,}", f"{present / before.size:.1%}", shape_left, f"{left:,}"])
    share = f"{whole.num_weights / whole.num_dense_weights:.1%}"
    return [*rows, ["all", "", f"{whole.num_weights:,}", share, "", f"{network.num_weights:,}"]]


def _file_rows(export: Export) -> list[list[str]]:
    rows = [["format", "files", "weights", "bytes", "dense / bytes", "error", "random"]]
    for one in export.written:
        sizes = [f"{one.bytes:,}", f"{export.dense_bytes / one.bytes:.1f}"]
        errors = [f"{one.error:.1e}", f"{one.random_error:.1e}"]
        rows.append([one.format, ", ".join(one.files), one.weights, *sizes, *errors])
    return rows


def _table(rows: Sequence[Sequence[str]], left: int) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def summary(export: Export) -> dict[str, Any]:
    """Return what was exported as one JSON object."""
    return {
        "env": export.member.env_id,
        "seed": export.member.seed,
        "observations": export.network.obs_size,
        "observations_read": export.network.inputs.tolist(),
        "widths": export.whole.widths,
        "widths_left": export.network.widths,
        "weights": export.whole.num_weights,
        "weights_left": export.network.num_weights,
        "dense_bytes": export.dense_bytes,
        "written": [asdict(one) for one in export.written],
    }
