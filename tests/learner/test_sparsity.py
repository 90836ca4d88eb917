"""Dense networks are the sparsity that does nothing: everything stays as it is, and nothing is copied."""

import numpy as np

from rlsparse.algorithms.ppo import PPO
from rlsparse.learner.adam import Adam
from rlsparse.learner.sparsity import DENSE
from rlsparse.run.recipe import Recipe


def test_a_recipe_without_sparse_networks_has_it_and_it_builds_itself(new_learner):
    assert Recipe("Hopper-v5").sparsity is DENSE
    learner = new_learner()
    assert learner.sparsity is DENSE
    assert DENSE.build(learner.layout, learner.seeds, "cpu") is DENSE


def test_arrays_come_back_themselves(new_learner):
    params = new_learner().params
    assert DENSE.initial(params) is params
    points = np.ones((3, 2, 4))
    assert DENSE.project(points, slice(None), slice(0, 4)) is points


def test_nothing_is_hidden_or_cleared_or_exchanged(new_learner, new_batch):
    learner = new_learner()
    learner.params[0, 0] = np.nan  # which no product with a mask would leave alone
    before = {name: x.tobytes() for name, x in learner.state_dict().items()}
    DENSE.begin(np.full(3, 0.5))
    DENSE.hide(learner.params)
    DENSE.clear(learner.params, slice(None))
    DENSE.evolve(learner, new_batch(learner).obs)
    assert {name: x.tobytes() for name, x in learner.state_dict().items()} == before


def test_the_gradient_and_the_terms_are_those_of_the_loss():
    written, terms = np.array([[1.0, -0.0, np.inf]]), {"policy_loss": np.ones(1)}

    class Gradient:
        flat = np.zeros((1, 3))

    def loss(params, batch, gradient):
        gradient.flat[...] = written
        return terms

    assert DENSE.gradient(loss, None, None, Gradient) is terms
    assert Gradient.flat.tobytes() == written.tobytes()


def test_a_step_is_the_optimisers_own():
    stepped = [np.ones((2, 3), np.float32) for _ in range(2)]
    gradient, rate = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((2, 1), 0.1, np.float32)
    Adam(stepped[0]).step(stepped[0], gradient.copy(), rate, 1e-5)
    DENSE.step(Adam(stepped[1]), stepped[1], gradient.copy(), rate, 1e-5, max_norm=0.5)
    np.testing.assert_array_equal(*stepped)


def test_an_update_is_the_algorithms_own(new_learner, new_batch):
    learners = [new_learner() for _ in range(2)]
    batch, ppo = new_batch(learners[0]), PPO(epochs=2, minibatches=4)
    for own, through in zip(ppo.update(learners[0], batch), learners[1].update(ppo, batch), strict=True):
        for name, x in vars(own).items():
            np.testing.assert_array_equal(x, getattr(through, name))
    np.testing.assert_array_equal(learners[0].params, learners[1].params)


def test_there_is_nothing_to_tell_or_to_keep(new_learner):
    learner = new_learner()
    assert DENSE.columns == ()
    assert learner.metrics() == {}
    assert DENSE.metrics(learner.optimiser) == DENSE.state_dict() == DENSE.policy_arrays() == {}
    assert DENSE.kept_state() == DENSE.inner_actors(learner.actors()) == []
    assert DENSE.inner_rows(learner, [], np.arange(3)) == []
    DENSE.load_state_dict({})
    assert not any(name.startswith("sparsity") for name in learner.state_dict())
    assert DENSE.acting
    assert DENSE.records
    assert not DENSE.regrows
    assert vars(DENSE) == {}
