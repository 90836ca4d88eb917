"""PPO in one file of torch, as research scripts are, with ExploRLer in the four lines marked so.

    python examples/single_file_ppo.py --env HalfCheetah-v5 --total-steps 1000000

The budget counts the steps of training and of probing together. `--budget-fraction 0` trains without probing.
"""

import argparse

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor, nn

from rlsparse import Explorer

GAMMA, GAE_LAMBDA, CLIP_RANGE, EPOCHS, MINIBATCH = 0.99, 0.95, 0.2, 10, 64


class Agent(nn.Module):
    """Actor, critic, and the normaliser of what both see."""

    def __init__(self, obs_size: int, action_size: int) -> None:
        super().__init__()
        self.actor, self.critic = network(obs_size, action_size, 0.01), network(obs_size, 1, 1.0)
        self.log_std = nn.Parameter(torch.zeros(action_size))
        self.register_buffer("count", torch.tensor(1e-4))
        self.register_buffer("mean", torch.zeros(obs_size))
        self.register_buffer("var", torch.ones(obs_size))

    def see(self, obs: Tensor) -> None:
        """Add observations [n, O] to the normaliser's statistics."""
        total, difference = self.count + len(obs), obs.mean(0) - self.mean
        shared = self.count * len(obs) / total
        self.var = (self.count * self.var + len(obs) * obs.var(0, correction=0) + shared * difference**2) / total
        self.mean, self.count = self.mean + difference * len(obs) / total, total

    def normalised(self, obs: Tensor) -> Tensor:
        """Return observations as the networks see them; the statistics stay as they are."""
        return ((obs - self.mean) / (self.var + 1e-8).sqrt()).clamp(-10, 10)

    def mean_action(self, obs: Tensor) -> Tensor:
        """Return the actions of the policy without noise, [n, A]."""
        return self.actor(self.normalised(obs))

    def policy(self, obs: Tensor) -> torch.distributions.Independent:
        """Return the distribution of actions."""
        normal = torch.distributions.Normal(self.mean_action(obs), self.log_std.exp())
        return torch.distributions.Independent(normal, 1)

    def value(self, obs: Tensor) -> Tensor:
        """Return the critic's values, [n]."""
        return self.critic(self.normalised(obs)).squeeze(-1)


def network(inputs: int, outputs: int, last_scale: float) -> nn.Sequential:
    """Return two hidden layers of 64 units, initialised orthogonally."""
    layers = [nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs)]
    for layer, scale in zip(layers[::2], (2**0.5, 2**0.5, last_scale), strict=True):
        nn.init.orthogonal_(layer.weight, scale)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def make_envs(env_id: str, num_envs: int) -> gymnasium.vector.VectorEnv:
    """Return environments that clip actions to their range."""
    return gymnasium.make_vec(
        env_id,
        num_envs,
        vectorization_mode="sync",
        wrappers=[gymnasium.wrappers.ClipAction],
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )


@torch.no_grad()
def rollout(
    envs: gymnasium.vector.VectorEnv, agent: Agent, obs: Tensor, length: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the last observation, and what happened [T, N], with advantages by GAE and the values they aim at."""
    rows = []
    for _ in range(length):
        policy = agent.policy(obs)
        action = policy.sample()
        new, reward, terminated, truncated, info = envs.step(action.numpy())
        successor = new.copy()
        for i in np.flatnonzero(terminated | truncated):
            successor[i] = info["final_obs"][i]
        value, next_value = agent.value(obs), agent.value(tensor(successor))
        delta = tensor(reward) + GAMMA * tensor(~terminated) * next_value - value
        goes_on = GAMMA * GAE_LAMBDA * tensor(~(terminated | truncated))
        rows.append({"obs": obs, "action": action, "log_prob": policy.log_prob(action), "value": value,
                     "delta": delta, "goes_on": goes_on, "reward": tensor(reward)})  # fmt: skip
        obs = tensor(new)
    steps = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    advantage, ahead = torch.zeros_like(steps["value"]), torch.zeros(envs.num_envs)
    for t in reversed(range(length)):
        advantage[t] = ahead = steps["delta"][t] + steps["goes_on"][t] * ahead
    return obs, steps | {"advantage": advantage, "target": advantage + steps["value"]}


def tensor(x: np.ndarray) -> Tensor:
    """Return an array in float32."""
    return torch.as_tensor(x, dtype=torch.float32)


def loss(agent: Agent, batch: dict[str, Tensor]) -> Tensor:
    """Return PPO's clipped loss, with that of the critic."""
    advantage = (batch["advantage"] - batch["advantage"].mean()) / (batch["advantage"].std() + 1e-8)
    ratio = (agent.policy(batch["obs"]).log_prob(batch["action"]) - batch["log_prob"]).exp()
    clipped = ratio.clamp(1 - CLIP_RANGE, 1 + CLIP_RANGE)
    error = agent.value(batch["obs"]) - batch["target"]
    return -torch.minimum(ratio * advantage, clipped * advantage).mean() + 0.5 * error.square().mean()


def evaluate(env_id: str, agent: Agent, episodes: int = 10) -> float:
    """Return the mean return of the policy without noise."""
    env, returns = make_envs(env_id, 1), []
    for episode in range(episodes):
        obs, total, over = env.reset(seed=1000 + episode)[0], 0.0, False
        while not over:
            with torch.no_grad():
                obs, reward, terminated, truncated, _ = env.step(agent.mean_action(tensor(obs)).numpy())
            total, over = total + reward[0], terminated[0] or truncated[0]
        returns.append(total)
    return float(np.mean(returns))


def main() -> None:
    """Train, with a line of progress now and then."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--total-steps", type=int, default=1_000_000)
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--rollout-length", type=int, default=256)
    parser.add_argument("--budget-fraction", type=float, default=0.1, help="most of all steps that probing may take")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.set_num_threads(1)  # small networks are slower with more
    torch.manual_seed(args.seed)
    envs = make_envs(args.env, args.num_envs)
    agent = Agent(envs.single_observation_space.shape[0], envs.single_action_space.shape[0])
    optimiser = torch.optim.Adam(agent.parameters(), lr=3e-4, eps=1e-5)
    explorer = Explorer(  # ExploRLer: of all parameters it searches those that the mean action depends on
        agent,
        lambda n: make_envs(args.env, n),
        act=agent.mean_action,
        total_steps=args.total_steps,
        budget_fraction=args.budget_fraction,
        seed=args.seed,
    )

    obs, steps, updates = tensor(envs.reset(seed=args.seed)[0]), 0, 0
    while not explorer.finished:  # ExploRLer: the budget is spent, by training or by the last probe
        optimiser.param_groups[0]["lr"] = 3e-4 * (1 - steps / args.total_steps)
        obs, data = rollout(envs, agent, obs, args.rollout_length)
        steps, updates = steps + args.rollout_length * args.num_envs, updates + 1
        batch = {name: x.flatten(0, 1) for name, x in data.items()}
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(batch["obs"])).split(MINIBATCH):
                optimiser.zero_grad()
                loss(agent, {name: x[rows] for name, x in batch.items()}).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimiser.step()
            explorer.anchor()  # ExploRLer: a point that the update went through
        agent.see(batch["obs"])
        steps += explorer.probe(steps)  # ExploRLer: probes if it is time, and counts what that takes
        if updates % 10 == 0:
            print(f"{steps:>9,} steps, mean reward {data['reward'].mean():.3f}", flush=True)
    print(explorer.report())
    print(f"return {evaluate(args.env, agent):,.1f} (mean of 10 episodes)")


if __name__ == "__main__":
    main()
