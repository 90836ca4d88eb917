"""V-trace: returns corrected for steps that another policy took. Source: Espeholt et al., arXiv 1802.01561."""

from dataclasses import dataclass

from rlsparse.advantage.estimator import AdvantageEstimator
from rlsparse.advantage.returns import backwards, decay_of, require_one_shape
from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.bounds import Fraction, NotNegative, Positive, Varying
from rlsparse.learner.records import Advantages, Rollout


def vtrace(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    log_rho: Array,
    gamma: float,
    trace_lambda: float = 1.0,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[Array, Array]:
    """V-trace; returns (advantages, value targets), both [T, ...].

    `log_rho` = log pi - log mu, of the policy that learns over the one that acted; the other arrays as in `gae`.

        rho_t = min(rho_bar, exp log_rho_t),  c_t = trace_lambda min(c_bar, exp log_rho_t)
        v_t - values_t = rho_t delta_t + gamma c_t (1 - (terminated_t or truncated_t)) (v_{t+1} - values_{t+1})
        A_t = rho_t (r_t + gamma (1 - terminated_t) v_{t+1} - values_t)

    with `next_values_t` in place of v_{t+1} where an episode or the rollout ends. Raises ValueError if the shapes
    differ. Source: Espeholt et al., arXiv 1802.01561, section 4.1.
    """
    require_one_shape("vtrace", rewards, values, next_values, terminated, truncated, log_rho)
    xp = namespace(rewards)
    ratio, ended = xp.exp(log_rho), terminated | truncated
    rho = xp.clip(ratio, None, rho_bar)
    deltas = rho * (rewards + gamma * xp.where(terminated, 0.0, next_values) - values)
    targets = values + backwards(deltas, decay_of(deltas, ended, gamma * trace_lambda) * xp.clip(ratio, None, c_bar))
    following = next_values + 0
    following[:-1] = xp.where(ended[:-1], next_values[:-1], targets[1:])
    return rho * (rewards + gamma * xp.where(terminated, 0.0, following) - values), targets


@dataclass(frozen=True)
class VTrace(AdvantageEstimator):
    """Returns corrected for steps that another policy took. Source: Espeholt et al., arXiv 1802.01561.

    Candidates of in-rollout probing are such policies. Where the member itself acted, value targets are those of GAE,
    and with lambda 1 advantages too.
    """

    gamma: Varying[Fraction] = 0.99
    """Discount per environment step."""
    trace_lambda: Varying[Fraction] = 0.95
    """Weight of longer-horizon estimates: 0 is one-step, 1 is the published form."""
    rho_bar: Varying[Positive] = 1.0
    """Largest weight that its probability ratio gives a step."""
    c_bar: Varying[NotNegative] = 1.0
    """Largest weight that its probability ratio gives the steps after it."""

    @property
    def gives(self) -> frozenset[str]:
        """It corrects for actions of other policies, with any objective."""
        return super().gives | {"others-actions", "corrected-returns"}

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N]; the policy's ratio is to the policy that learns."""
        own = rollout.log_prob if rollout.own_log_prob is None else rollout.own_log_prob
        advantage, value_target = vtrace(
            rollout.reward,
            rollout.value,
            rollout.next_value,
            rollout.terminated,
            rollout.truncated,
            own - rollout.log_prob,
            self.gamma,
            self.trace_lambda,
            self.rho_bar,
            self.c_bar,
        )
        return Advantages(advantage, value_target, log_prob=own)
