"""The actor in a Stable-Baselines3 policy: which parameters are its own, and what many versions of it do at once."""

import logging
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor, nn
from torch.func import functional_call

from rlsparse.errors import UsageError
from rlsparse.run.torch_parameters import ParameterVector, reached
from rlsparse.sb3.training import SparseTraining
from rlsparse.sim.user_envs import Obs, on_each

log = logging.getLogger(__name__)

ELEMENTWISE = (
    *(nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Identity),
)
"""Layers that treat each number alike, whatever the axes."""

MOST_DIFFERENCE = 1e-3
"""Actions that differ by more, in units of half the action range, are not the policy's own."""


class MeanAction(nn.Module):
    """The way from a preprocessed observation to the mean action, as ActorCriticPolicy goes it."""

    def __init__(self, policy: ActorCriticPolicy) -> None:
        super().__init__()
        self.features, self.latent, self.head = policy.pi_features_extractor, policy.mlp_extractor, policy.action_net

    def forward(self, obs: Any) -> Tensor:
        """Mean actions [n, A]."""
        return self.head(self.latent.forward_actor(self.features(obs)))


class Actor(ParameterVector):
    """The parameters of a model's actor as one vector [P], and candidates for it.

    The actor's parameters are those that its mean action depends on, and the critic's value does not: what both share
    is left out of the search, for a candidate would change the critic too. Raises UsageError if none are left, or if
    the policy acts in another way than through its features extractor, mlp_extractor and action_net.
    """

    def __init__(self, model: OnPolicyAlgorithm, search_log_std: bool) -> None:
        policy = model.policy
        assert isinstance(policy, ActorCriticPolicy)
        self._policy, self._mean = policy, MeanAction(policy)
        self._layers = _plain_layers(policy)
        self._vectorised = True
        own = self._own_parameters(model._last_obs)
        self._names = [name for name, parameter in self._mean.named_parameters() if id(parameter) in own]
        super().__init__([dict(self._mean.named_parameters())[name] for name in self._names])
        if search_log_std:
            self._names.append("log_std")
            self.parameters.append(policy.log_std)
        self._sparsity = model.sparsity if isinstance(model, SparseTraining) else None
        self._check(model._last_obs)

    def _own_parameters(self, obs: Obs) -> set[int]:
        """The ids of the parameters that the mean action at `obs` depends on, and the value does not."""
        policy = self._policy
        parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        with torch.enable_grad():
            acting = reached(self._mean(self._preprocessed(obs)), parameters)
            valuing = reached(policy.predict_values(obs_as_tensor(obs, policy.device)), parameters)
        shared = acting & valuing
        if not acting - valuing:
            raise UsageError("the policy has no parameters that only its actor uses, so there is nothing to search")
        if shared:
            count = sum(parameter.numel() for parameter in parameters if id(parameter) in shared)
            way_out = ": policy_kwargs=dict(share_features_extractor=False) would have them searched"
            log.warning(
                "actor and critic share %s parameters, which are left out of the search%s",
                f"{count:,}",
                way_out if policy.share_features_extractor else "",
            )
        return acting - valuing

    def _preprocessed(self, obs: Obs) -> Any:
        policy = self._policy
        tensors = obs_as_tensor(obs, policy.device)
        return preprocess_obs(tensors, policy.observation_space, normalize_images=policy.normalize_images)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return points [..., P] with zeros for the weights that a sparse network does without."""
        if self._sparsity is None:
            return points
        return np.where(self._sparsity.present(self._policy, self.parameters), points, 0.0).astype(points.dtype)

    def candidates(self, points: np.ndarray) -> Callable[[Obs], np.ndarray]:
        """Return the mean actions of points [C, P] as a function of their observations [C * n, ...]: [C * n, A]."""
        own = dict(zip(self._names, self.parts(points), strict=True))
        own.pop("log_std", None)
        forward = self._stacked(own) if self._layers is not None else self._mapped(own)

        def mean(obs: Obs) -> np.ndarray:
            def by_candidate(x: Tensor) -> Tensor:
                return x.reshape(len(points), -1, *x.shape[1:])

            with torch.no_grad():
                return forward(on_each(by_candidate, self._preprocessed(obs))).flatten(0, 1).cpu().numpy()

        return mean

    def std(self, points: np.ndarray) -> np.ndarray:
        """Standard deviation of the points' action noise, [C, A]."""
        if "log_std" in self._names:
            log_std = self.parts(points)[-1]
        else:
            log_std = self._policy.log_std.detach().expand(len(points), -1)
        return log_std.exp().cpu().numpy()

    def native(self, action: np.ndarray) -> np.ndarray:
        """Return actions [n, A] as the environment gets them, as Stable-Baselines3 makes them in a rollout."""
        space = self._policy.action_space
        action = action.reshape(-1, *space.shape)  # type: ignore[misc]
        if self._policy.squash_output:
            return self._policy.unscale_action(np.tanh(action))
        return np.clip(action, space.low, space.high)  # type: ignore[attr-defined]

    def _stacked(self, own: dict[str, Tensor]) -> Callable[[Any], Tensor]:
        """All candidates of a plain network, each layer in one call."""
        assert self._layers is not None
        names = {id(parameter): name for name, parameter in self._mean.named_parameters()}

        def stack(parameter: Tensor) -> Tensor:
            many = own.get(names[id(parameter)])
            return parameter.detach()[None] if many is None else many

        def linear(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
            weight = stack(layer.weight).transpose(1, 2).contiguous()
            bias = 0.0 if layer.bias is None else stack(layer.bias)[:, None]
            return lambda x: torch.matmul(x, weight) + bias

        layers = [linear(layer) if isinstance(layer, nn.Linear) else layer for layer in self._layers]

        def forward(x: Tensor) -> Tensor:
            x = x.flatten(2)
            for layer in layers:
                x = layer(x)
            return x

        return forward

    def _mapped(self, own: dict[str, Tensor]) -> Callable[[Any], Tensor]:
        """All candidates of any network; one after the other where it cannot be vectorised."""
        state = {**dict(self._mean.named_parameters()), **dict(self._mean.named_buffers())}
        # copies, so that a network which writes to its buffers does not write to the policy's
        shared = {name: x.detach().clone() for name, x in state.items() if name not in own}

        def one(own: dict[str, Tensor], obs: Any) -> Tensor:
            return functional_call(self._mean, {**shared, **own}, (obs,))

        if self._vectorised:
            return lambda obs: torch.vmap(one)(own, obs)

        def each(obs: Any) -> Tensor:
            rows = map(itemgetter, range(len(next(iter(own.values())))))
            return torch.stack([one(on_each(row, own), on_each(row, obs)) for row in rows])

        return each

    def _check(self, obs: Obs) -> None:
        """Raise UsageError unless two copies of the policy in one batch act as the policy does."""
        expected, _ = self._policy.predict(obs, deterministic=True)
        double = on_each(lambda x: np.concatenate([x, x]), obs)
        points = np.repeat(self.read()[None], 2, 0)
        try:
            given = self.native(self.candidates(points)(double))
        except RuntimeError:  # torch.vmap refuses what depends on the data, and what changes the network's buffers
            self._vectorised = False
            given = self.native(self.candidates(points)(double))
        space = self._policy.action_space
        half = (space.high - space.low) / 2  # type: ignore[attr-defined]
        unit = np.where(np.isfinite(half), half, 1.0)
        if not (np.abs(given - np.concatenate([expected, expected])) <= MOST_DIFFERENCE * unit).all():
            raise UsageError(
                f"{type(self._policy).__name__} does not act through its features extractor, mlp_extractor and "
                "action_net as ActorCriticPolicy does, so its candidates cannot be run"
            )


def _plain_layers(policy: ActorCriticPolicy) -> list[nn.Module] | None:
    """The actor's layers, if it is a plain network of linear and elementwise ones; else None."""
    if type(policy.pi_features_extractor) is not FlattenExtractor or type(policy.mlp_extractor) is not MlpExtractor:
        return None
    layers = [*policy.mlp_extractor.policy_net, policy.action_net]
    plain = all(type(x) in (nn.Linear, *ELEMENTWISE) and not (x._forward_hooks or x._forward_pre_hooks) for x in layers)
    return layers if plain else None
