"""What an export made of a policy, in words and numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rlsparse.trained.compact import Network
from rlsparse.trained.parity import Trial


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

    env: str
    seed: int
    others: str
    """Which seeds the source holds, if they are several."""
    whole: Network
    network: Network
    trial: Trial
    written: Sequence[Written]

    @property
    def dense_bytes(self) -> int:
        """Size of the actor as it was trained: all its weights and biases in float32."""
        return 4 * sum(weight.size + bias.size for weight, bias in self.whole.layers)

    @property
    def dead(self) -> int:
        """Hidden units that no action depends on, or that are constant."""
        return sum(self.whole.widths[1:-1]) - sum(self.network.widths[1:-1])


def text(export: Export) -> str:
    """Return the account as tables."""
    whole, network, trial = export.whole, export.network, export.trial
    chosen = f" (of {export.others}; --seed chooses)" if export.others else ""
    parts = [
        f"policy of seed {export.seed}{chosen} on {export.env}",
        f"{_reads(network)}; {export.dead} of {sum(whole.widths[1:-1])} hidden units were dead\n",
        _table(_layer_rows(export), left=1),
        "",
        _table(_file_rows(export), left=3),
        f"\ndense: {export.dense_bytes:,} bytes, all weights and biases as fp32",
        "error: largest difference of an action from the trained policy's, as a share of half its range, on "
        f"{trial.num_real:,} observations of an episode; random: on {len(trial.obs) - trial.num_real:,} random ones",
        *(f"{one.format}: {one.remark}" for one in export.written if one.remark),
    ]
    return "\n".join(parts)


def _reads(network: Network) -> str:
    unread = sorted(set(range(network.obs_size)) - set(network.inputs.tolist()))
    some = f", not {', '.join(map(str, unread))}" if unread else ""
    return f"reads {len(network.inputs)} of {network.obs_size} observations{some}"


def _layer_rows(export: Export) -> list[list[str]]:
    rows = [["layer", "inputs x units", "weights", "of them", "inputs x units left", "weights left"]]
    for i, ((before, _), (after, _)) in enumerate(zip(export.whole.layers, export.network.layers, strict=True), 1):
        present, left = np.count_nonzero(before), np.count_nonzero(after)
        shapes = [" x ".join(map(str, x.shape)) for x in (before, after)]
        share = f"{present / before.size:.1%}"
        rows.append([str(i), shapes[0], f"{present:,}", share, shapes[1], f"{left:,}"])
    total = sum(weight.size for weight, _ in export.whole.layers)
    kept = export.whole.num_weights
    return [*rows, ["all", "", f"{kept:,}", f"{kept / total:.1%}", "", f"{export.network.num_weights:,}"]]


def _file_rows(export: Export) -> list[list[str]]:
    rows = [["format", "files", "weights", "bytes", "dense / bytes", "error", "random"]]
    for one in export.written:
        ratio = f"{export.dense_bytes / one.bytes:.1f}"
        rows.append(
            [
                one.format,
                ", ".join(one.files),
                one.weights,
                f"{one.bytes:,}",
                ratio,
                f"{one.error:.1e}",
                f"{one.random_error:.1e}",
            ]
        )
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
    """Return the account as one JSON object."""
    return {
        "env": export.env,
        "seed": export.seed,
        "observations": export.network.obs_size,
        "observations_read": export.network.inputs.tolist(),
        "widths": export.whole.widths,
        "widths_left": export.network.widths,
        "weights": export.whole.num_weights,
        "weights_left": export.network.num_weights,
        "dense_bytes": export.dense_bytes,
        "written": [asdict(one) for one in export.written],
    }
