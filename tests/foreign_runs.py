"""Logs as other libraries leave them, with numbers that a test chooses."""

import json

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def write_monitor(path, rows, start=1000.0, env="Pendulum-v1", extra=""):
    """Write a file of Stable-Baselines3's Monitor: rows of return, length and seconds since `start`."""
    lines = [f"#{json.dumps({'t_start': start, 'env_id': env})}", f"r,l,t{',x' * bool(extra)}"]
    lines += [",".join(map(str, row)) + extra for row in rows]
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode())
    return path


def episodes(first=-100.0, n=30, length=200, rise=1.0, seconds=10.0):
    """Rows of a monitor: returns that rise evenly from `first`, in episodes of equal length and duration."""
    return [(first + rise * i, length, seconds * (i + 1)) for i in range(n)]


def write_evaluations(folder, steps, returns, name="evaluations.npz", shape=(2,)):
    """Write EvalCallback's file, every episode of an evaluation with the same return."""
    folder.mkdir(exist_ok=True, parents=True)
    results = np.broadcast_to(np.asarray(returns, float).reshape(-1, *(1 for _ in shape)), (len(returns), *shape))
    np.savez(folder / name, timesteps=np.asarray(steps), results=results)
    return folder


def write_arguments(folder, env, seed):
    """Write rl-zoo's args.yml, which knows the seed."""
    (folder / env).mkdir(parents=True, exist_ok=True)
    text = f"!!python/object/apply:collections.OrderedDict\n- - - algo\n    - ppo\n  - - seed\n    - {seed}\n"
    (folder / env / "args.yml").write_text(text)


def write_events(folder, tag, points, suffix="", start=100.0):
    """Write TensorBoard's (step, value) points; wall time is a tenth of the step after `start`."""
    writer = EventFileWriter(str(folder), filename_suffix=suffix)
    for step, value in points:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(wall_time=start + step / 10, step=step, summary=summary))
    writer.close()
