"""Every proposal's contract, and what each of the controls of empty-space search proposes."""

import json
from pathlib import Path

import numpy as np
import pytest

from rlsparse.explore.anchors import Probed, unit_length
from rlsparse.explore.controls import Averages, RandomWalk
from rlsparse.explore.empty_space import EmptySpace
from rlsparse.explore.evolution import Consensus, GuidedEvolution
from rlsparse.explore.explorler import Proposal
from rlsparse.explore.gaussian_process import Posterior, SurrogateGradient, design
from rlsparse.explore.propose import Gaussian, Line
from rlsparse.learner.kinds import kinds

CASE = json.loads((Path(__file__).parent.parent / "data" / "explorler.json").read_text())
PUBLISHED_ANCHORS = np.array(CASE["anchors_10x5"])[None]

PROPOSALS = kinds(Proposal)
every_proposal = pytest.mark.parametrize("proposal", [kind() for kind in PROPOSALS.values()], ids=list(PROPOSALS))
learners = pytest.mark.parametrize("proposal", [GuidedEvolution(), Consensus(), SurrogateGradient()], ids=repr)
units = pytest.mark.parametrize("unit", ["absolute", "spread", "update"])


def walk(members=1, num_anchors=10, size=30, seed=0):
    """Anchors of a random walk, [S, K, P]."""
    return 0.1 * np.random.default_rng(seed).standard_normal((members, num_anchors, size)).cumsum(1)


def streams(members=1, seed=0):
    return [np.random.default_rng([1, seed, s]) for s in range(members)]


def cycle(proposal, anchors, score=lambda points: np.zeros(points.shape[:2]), generators=None):
    """All candidates [S, rounds, C, P] of a cycle."""
    generators, probed, rounds = generators or streams(len(anchors)), Probed.nothing(anchors[:, -1]), []
    for _ in range(proposal.rounds):
        rounds.append(proposal(anchors, probed, generators))
        points = np.concatenate([probed.points, rounds[-1]], 1)
        probed = Probed(points, np.concatenate([probed.scores, score(rounds[-1])], 1))
    return np.stack(rounds, 1)


def first_round(proposal, anchors, seed=0):
    return proposal(anchors, Probed.nothing(anchors[:, -1]), streams(len(anchors), seed))


def outside_span(points, anchors):
    """Distance of points [C, P] to the affine span of anchors [K, P]."""
    basis = np.linalg.svd(anchors[:-1] - anchors[-1], full_matrices=False)[2]
    away = points - anchors[-1]
    return np.linalg.norm(away - away @ basis.T @ basis, axis=1)


@every_proposal
@pytest.mark.parametrize("num_anchors", [1, 2, 4, 10])
def test_proposes_as_many_finite_points_as_it_says(proposal, num_anchors):
    found = cycle(proposal, walk(2, num_anchors))
    assert found.shape == (2, proposal.rounds, proposal.count(num_anchors), 30)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()


@every_proposal
@pytest.mark.parametrize("num_anchors", [1, 5])
def test_where_there_is_no_direction_it_proposes_the_incumbent(proposal, num_anchors):
    incumbent = walk(1, 1)
    found = cycle(proposal, np.repeat(incumbent, num_anchors, 1))
    np.testing.assert_array_equal(found, np.broadcast_to(incumbent[:, None], found.shape))


@every_proposal
def test_equal_anchors_among_others_do_no_harm(proposal):
    anchors = walk()
    anchors[:, 3] = anchors[:, 4]
    anchors[:, 8] = anchors[:, 9]
    assert np.isfinite(cycle(proposal, anchors)).all()


@every_proposal
def test_more_anchors_than_parameters_do_no_harm(proposal):
    assert np.isfinite(cycle(proposal, walk(1, 10, 3))).all()


def scores_by_member(points):
    return -np.abs(points).sum(-1)


@every_proposal
@pytest.mark.parametrize("size", [3, 1000])
def test_a_member_is_proposed_what_it_would_be_alone(proposal, size):
    anchors = walk(4, size=size)
    together = cycle(proposal, anchors, scores_by_member, streams(4))
    for s in range(4):
        alone = cycle(proposal, anchors[s : s + 1], scores_by_member, [streams(4)[s]])
        np.testing.assert_array_equal(together[s], alone[0])


@every_proposal
def test_a_diverged_member_leaves_the_others_alone(proposal):
    anchors = walk(2)
    healthy = cycle(proposal, anchors, scores_by_member)[0]
    anchors[1, 3:] = np.nan
    np.testing.assert_array_equal(cycle(proposal, anchors, scores_by_member)[0], healthy)


@every_proposal
def test_anchors_in_single_precision_are_read_and_left_as_they_are(proposal):
    anchors = walk().astype(np.float32)
    before = anchors.copy()
    np.testing.assert_array_equal(cycle(proposal, anchors), cycle(proposal, anchors.astype(np.float64)))
    np.testing.assert_array_equal(anchors, before)


@every_proposal
def test_candidates_move_with_the_anchors(proposal):
    anchors, shift = walk(), np.arange(30.0)
    found, moved = cycle(proposal, anchors), cycle(proposal, anchors + shift)
    np.testing.assert_allclose(moved, found + shift, atol=1e-9)


@every_proposal
@pytest.mark.parametrize("failure", [np.nan, -np.inf])
def test_failed_candidates_do_no_harm(proposal, failure):
    def some_fail(points):
        score = scores_by_member(points)
        score[:, ::2] = failure
        return score

    assert np.isfinite(cycle(proposal, walk(2), some_fail)).all()
    assert np.isfinite(cycle(proposal, walk(2), lambda points: np.full(points.shape[:2], failure))).all()


@every_proposal
@pytest.mark.parametrize("score", [np.nan, 1.0])
def test_the_incumbent_may_be_scored_before_the_first_round(proposal, score):
    anchors = walk()
    only = Probed(anchors[:, -1:], np.full((1, 1), score))
    np.testing.assert_array_equal(proposal(anchors, only, streams()), first_round(proposal, anchors))


def test_units_of_length():
    anchors = np.array([[[0.0, 0.0], [0.0, 3.0], [4.0, 0.0], [4.0, 3.0]], [[1.0, 1.0]] * 4])
    np.testing.assert_array_equal(unit_length(anchors, "absolute"), [1, 1])
    np.testing.assert_array_equal(unit_length(anchors, "update"), [5, 0])
    np.testing.assert_array_equal(unit_length(anchors, "spread"), [2.5, 0])
    with pytest.raises(ValueError, match="expected absolute, spread or update, got 'metre'"):
        unit_length(anchors, "metre")


@units
@pytest.mark.parametrize("proposal", [GuidedEvolution, Consensus, SurrogateGradient])
def test_first_candidates_are_the_reach_away_from_the_incumbent(proposal, unit):
    anchors = walk()
    moved = np.linalg.norm(first_round(proposal(reach=0.3, unit=unit), anchors) - anchors[:, -1:], axis=-1)
    np.testing.assert_allclose(moved, 0.3 * unit_length(anchors, unit)[0])


@units
@pytest.mark.parametrize("span", ["in", "out"])
def test_random_walk_goes_as_far_as_the_search_from_the_same_points(span, unit):
    anchors = walk(3)
    searched = first_round(EmptySpace(unit=unit), anchors).reshape(3, 5, 4, -1)
    walked = first_round(RandomWalk(unit=unit, span=span), anchors).reshape(3, 5, 4, -1)
    np.testing.assert_allclose(walked[:, :, 0], searched[:, :, 0], atol=1e-12)
    far = [np.linalg.norm(points - points[:, :, :1], axis=-1) for points in (searched, walked)]
    np.testing.assert_allclose(far[1], far[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("span", ["in", "out"])
def test_random_walk_goes_further_than_the_published_control(span):
    wide = np.pad(PUBLISHED_ANCHORS, ((0, 0), (0, 0), (0, 20)))
    agents = first_round(RandomWalk(reach=0.06, unit="absolute", span=span), wide).reshape(5, 4, -1)
    moved = np.linalg.norm(agents[:, -1] - agents[:, 0], axis=1)
    np.testing.assert_allclose(moved, CASE["esa_candidates"]["displacement_per_agent"], atol=1e-9)
    assert agents.shape[1] == CASE["random_walk"]["rows"]
    assert moved.max() <= CASE["random_walk"]["max_displacement"]
    assert moved.min() > 6 * CASE["random_walk"]["expected_rms_displacement"]


def test_random_walk_keeps_to_the_span_or_leaves_it_at_right_angles():
    anchors = walk()
    start = first_round(RandomWalk(), anchors)[0, 0::4]
    inside = first_round(RandomWalk(span="in"), anchors)[0, 3::4]
    np.testing.assert_allclose(outside_span(inside, anchors[0]), 0, atol=1e-12)
    outside = first_round(RandomWalk(span="out"), anchors)[0, 3::4]
    moved = np.linalg.norm(outside - start, axis=1)
    np.testing.assert_allclose(outside_span(outside, anchors[0]), moved, rtol=1e-9)


def test_random_directions_prefer_none():
    # a million times as far along one direction: the search leaves along the others, and so must its control
    anchors = walk(1, 4, 3)
    anchors[..., 0] *= 1e6
    many = np.concatenate(
        [first_round(RandomWalk(), anchors, seed).reshape(4, 4, 3)[:, [0, -1]] for seed in range(250)]
    )
    directions = many[:, 1] - many[:, 0]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(directions.T @ directions / len(directions), np.eye(3) / 3, atol=0.05)


def test_out_of_a_span_that_is_everything_leads_nowhere():
    agents = first_round(RandomWalk(span="out"), walk(1, 10, 3)).reshape(5, 4, 3)
    np.testing.assert_array_equal(agents, np.broadcast_to(agents[:, :1], agents.shape))


def test_averages_are_the_start_points_and_the_mean_of_all():
    found = first_round(Averages(), PUBLISHED_ANCHORS)[0]
    np.testing.assert_allclose(found[:5], np.array(CASE["knn_start_points"]["starts_all_10"])[::2], atol=1e-9)
    np.testing.assert_allclose(found[5], PUBLISHED_ANCHORS[0].mean(0), atol=1e-12)


def test_gaussian_has_the_anchors_mean_and_covariance():
    anchors = walk(1, 6, 3)
    found = first_round(Gaussian(candidates=20_000, unit="spread"), anchors)[0]
    np.testing.assert_allclose(found.mean(0), anchors[0].mean(0), atol=0.01)
    np.testing.assert_allclose(np.cov(found.T), np.cov(anchors[0].T, ddof=0), atol=0.005)


@units
def test_gaussian_is_the_reach_away_from_the_mean_in_the_root_mean_square(unit):
    anchors = walk()
    found = first_round(Gaussian(candidates=5000, reach=0.3, unit=unit), anchors)[0]
    moved = np.sqrt(((found - anchors[0].mean(0)) ** 2).sum(1).mean())
    assert moved == pytest.approx(0.3 * unit_length(anchors, unit)[0], rel=0.03)
    np.testing.assert_allclose(outside_span(found, anchors[0]), 0, atol=1e-12)


def test_line_goes_back_along_the_update_and_beyond_it():
    anchors = np.array([[[1.0, 2.0], [9.0, 9.0], [3.0, -2.0]]])
    np.testing.assert_allclose(
        first_round(Line((0.0, 0.5, 1.0, 1.5, 2.0)), anchors)[0],
        [[1, 2], [2, 0], [3, -2], [4, -4], [5, -6]],
    )


def test_guided_evolution_probes_in_antithetic_pairs():
    anchors = walk()
    found = first_round(GuidedEvolution(pairs=4), anchors)[0] - anchors[0, -1]
    np.testing.assert_allclose(found[:4], -found[4:], atol=1e-12)


@pytest.mark.parametrize(("isotropic", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_guided_evolution_perturbs_the_span_and_the_rest(isotropic, share):
    anchors = walk(1, 10, 5000)
    found = first_round(GuidedEvolution(pairs=20, isotropic=isotropic), anchors)[0]
    moved = np.linalg.norm(found - anchors[0, -1], axis=1)
    outside = (outside_span(found, anchors[0]) / moved) ** 2
    assert outside.mean() == pytest.approx(share, abs=0.1)


def test_guided_evolution_steps_along_the_gradient_of_a_linear_function():
    anchors, gradient = walk(1, 10, 6), np.array([3.0, -1.0, 0.0, 2.0, 0.0, 1.0])
    found = cycle(GuidedEvolution(pairs=300, longest=2.0), anchors, lambda points: points @ gradient)[0, 1]
    steps = found - anchors[0, -1]
    lengths = np.linalg.norm(steps, axis=1)
    np.testing.assert_allclose(lengths, 2 * unit_length(anchors, "update")[0] * np.arange(1, 601) / 600)
    assert (steps @ gradient > 0.95 * lengths * np.linalg.norm(gradient)).all()


def test_guided_evolution_holds_a_failure_for_as_bad_as_the_worst():
    anchors = walk()

    def score(points, failure):
        scores = points[..., 0].copy()
        scores[:, np.argmin(scores)] = failure
        return scores

    worst = np.sort(first_round(GuidedEvolution(), anchors)[0, :, 0])[1]
    found = [cycle(GuidedEvolution(), anchors, lambda p, f=f: score(p, f)) for f in (worst, np.nan, -np.inf)]
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_consensus_without_noise_draws_the_particles_together():
    anchors = walk()
    rounds = cycle(Consensus(rounds=2, noise=0.0, drift=0.25, sharpness=0.0), anchors)[0]
    mean = rounds[0].mean(0)
    np.testing.assert_allclose(rounds[1] - mean, 0.75 * (rounds[0] - mean), atol=1e-12)


def test_consensus_of_sharp_weights_is_the_best_particle():
    anchors = walk()
    rounds = cycle(Consensus(rounds=2, noise=0.0, drift=1.0, sharpness=1e3), anchors, scores_by_member)[0]
    best = rounds[0, np.argmax(scores_by_member(rounds[0]))]
    np.testing.assert_allclose(rounds[1], np.tile(best, (10, 1)), atol=1e-12)


def test_consensus_noise_is_in_proportion_to_what_each_parameter_has_to_go():
    anchors = walk()
    anchors[..., 7] = 1.0
    rounds = cycle(Consensus(rounds=3), anchors, scores_by_member)
    np.testing.assert_allclose(rounds[..., 7], 1.0, atol=1e-12)


def test_surrogate_surrounds_the_incumbent_on_opposite_sides():
    points = design(10, 3, np.random.default_rng(0))
    np.testing.assert_allclose(points[0::2], -points[1::2])
    np.testing.assert_allclose(points[:6:2] @ points[:6:2].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), [1] * 6 + [0.5] * 4)


def test_posterior_passes_through_scores_without_noise_and_its_gradient_is_right():
    generator = np.random.default_rng(0)
    points, scores = generator.standard_normal((6, 3)), generator.standard_normal(6)
    posterior = Posterior.fit(points, scores, length_scale=1.0, noise=0.0)
    np.testing.assert_allclose(posterior.mean(points), (scores - scores.mean()) / scores.std(), atol=1e-6)
    x, h = generator.standard_normal((4, 3)), 1e-5
    slopes = [(posterior.mean(x + h * e) - posterior.mean(x - h * e)) / (2 * h) for e in np.eye(3)]
    np.testing.assert_allclose(posterior.gradient(x), np.transpose(slopes), atol=1e-6)


def test_surrogate_climbs_in_the_span_in_even_steps_until_it_is_past_the_top():
    anchors, uphill = walk(), walk(seed=1)[0, 0]
    uphill = (uphill @ np.linalg.pinv(anchors[0, :-1] - anchors[0, -1])) @ (anchors[0, :-1] - anchors[0, -1])
    found = cycle(SurrogateGradient(candidates=18), anchors, lambda points: points @ uphill)[0, 1]
    np.testing.assert_allclose(outside_span(found, anchors[0]), 0, atol=1e-12)
    steps = np.diff(np.concatenate([anchors[0, -1:], found]), axis=0)
    lengths = np.linalg.norm(steps, axis=1) / unit_length(anchors, "update")[0]
    np.testing.assert_allclose(lengths[:5], 2 / 18)
    assert (steps[:5] @ uphill > 0.95 * np.linalg.norm(steps[:5], axis=1) * np.linalg.norm(uphill)).all()
    assert (np.diff(lengths) <= 1e-12).all()


@learners
def test_what_learns_from_scores_improves_a_quadratic(proposal):
    anchors = walk(50)
    target = 1.8 * anchors[:, -1] - 0.8 * anchors[:, 0]

    def quadratic(points):
        return -((points - target[:, None]) ** 2).sum(-1)

    found = cycle(proposal, anchors, quadratic)
    scores = quadratic(found.reshape(50, -1, 30)).reshape(found.shape[:3])
    improved = scores[:, -1].max(-1) > quadratic(anchors[:, -1:])[:, 0]
    assert improved.mean() > 0.8
    assert scores[:, -1].mean() > scores[:, 0].mean()
