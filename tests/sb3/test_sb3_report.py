"""What probing under Stable-Baselines3 says of itself: files, log, report."""

from dataclasses import replace

import numpy as np
import pytest
from probed_models import PROBING, learned, new_model
from stable_baselines3.common.logger import configure

from rlsparse.compare.logs import read_path
from rlsparse.errors import UsageError
from rlsparse.explore.racing import Racing
from rlsparse.run.probe_report import Report
from rlsparse.sb3 import ExploRLerCallback


def test_what_is_logged(tmp_path, capsys):
    model, log, sb3_log = new_model(), tmp_path / "Point-v0" / "probed" / "seed-3", tmp_path / "sb3"
    model.set_logger(configure(str(sb3_log), ["csv"]))
    callback = ExploRLerCallback(PROBING, out=log, verbose=1)
    model.learn(600, callback=callback)
    report = callback.report()
    (found,) = read_path(log, "auto")
    curve = found.curves[0]
    assert (found.agent, curve.seed) == ("probed", 3)
    assert curve.spent == {"train": report.train_steps, "probe": report.probe_steps, "eval": curve.spent["eval"]}
    assert curve.axes["steps"][0] == 0
    assert curve.axes["steps"][-1] == model.num_timesteps
    assert 10 <= len(curve.returns) <= 22
    header, *rows = (log / "probe.csv").read_text().splitlines()
    assert header.startswith("seed,cycle,total_steps,train_steps,probe_steps,steps,accepted,reason")
    assert len(rows) == report.probes == capsys.readouterr().out.count("probe at")
    table = (sb3_log / "progress.csv").read_text()
    assert {f"probe/{name}" for name in ("steps", "train_steps", "probes", "accepted", "gain")} <= set(
        table.splitlines()[0].split(",")
    )
    with pytest.raises(UsageError, match="exists already"):
        new_model().learn(64, callback=ExploRLerCallback(PROBING, out=log))
    model.set_logger(configure(str(tmp_path / "both"), ["csv"]))
    with pytest.raises(UsageError, match="where Stable-Baselines3 logs to"):
        model.learn(64, callback=ExploRLerCallback(PROBING, out=tmp_path / "both"))


def test_the_report_says_how_sure_the_gain_is():
    report = Report(train_steps=900, probe_steps=100, probes=4, accepted=2)
    assert "gain" not in str(report)
    for gain in (1.0, 3.0):  # five pairs each; deviation 1, so standard error 1 / sqrt(5)
        pairs = gain + np.array([-1.0, 1.0, 0.0, -1.0, 1.0])
        report.add_gain(np.stack([np.full(5, 7.0), 7.0 + pairs])[None])
    assert report.gain == 2.0
    half = 2.306004 * np.sqrt(2 / 5) / 2  # t with 8 degrees of freedom
    np.testing.assert_allclose(report.gain_interval, (2 - half, 2 + half), rtol=1e-6)
    assert str(report) == (
        "1,000 steps: 900 training, 100 probing (10.0%); 4 probes, 2 accepted; gain of those accepted on fresh "
        "episodes +2 (95 % interval +1.27 to +2.73, n = 2 x 5 pairs of episodes)"
    )


def test_a_run_without_probes_says_why():
    callback = ExploRLerCallback(replace(PROBING, num_anchors=50), seed=0)
    new_model().learn(100, callback=callback)
    assert "0 probes, 0 accepted (12 of 50 anchors so far)" in str(callback.report())


def test_a_probe_that_cannot_be_paid_is_said():
    callback = ExploRLerCallback(replace(PROBING, budget_fraction=0.01), seed=0)
    new_model().learn(100, callback=callback)
    assert "(a probe may take 30 steps, and 0 may be spent)" in str(callback.report())


def test_the_default_is_a_card():
    callback = ExploRLerCallback(budget_fraction=0.2)
    learned(new_model(), callback, updates=1)
    assert isinstance(callback._config.probe, Racing)
    assert callback._config.budget_fraction == 0.2
    assert callback._config.start == 0.8  # the card's probes come last
