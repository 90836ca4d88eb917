"""Products with sparse matrices, against numpy's with the same matrices and all their zeros."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsparse.sparse import packed_matrix
from rlsparse.sparse.packed_matrix import TILE, PackedMatrix, Pattern, can_multiply

sizes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20), st.floats(0, 1))
several_tiles = [(2, TILE, 5, 6, 0.5), (1, TILE + 1, 9, 3, 0.9), (2, 2 * TILE + 3, 4, 8, 0.2)]


def drawn(size, seed=0):
    """Matrices [S, in, out] with their pattern, the same ones packed, and vectors on either side."""
    members, samples, height, width, density = size
    rng = np.random.default_rng(seed)
    entries = max(1, int(density * height * width))
    active = np.zeros((members, height * width), bool)
    for own in active:
        own[rng.permutation(height * width)[:entries]] = True
    active = active.reshape(members, height, width)
    matrix = np.where(active, rng.standard_normal(active.shape), 0).astype(np.float32)
    packed = PackedMatrix(Pattern.of(active), matrix.mT[active.mT].reshape(members, entries))
    x, delta = (rng.standard_normal((members, samples, n)).astype(np.float32) for n in (height, width))
    return active, matrix, packed, x, delta


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(0, 2**32))
def test_products_are_those_of_the_whole_matrices(size, seed):
    _, matrix, packed, x, delta = drawn(size, seed)
    np.testing.assert_allclose(x @ packed, x @ matrix, atol=1e-5)
    np.testing.assert_allclose(delta @ packed.mT, delta @ matrix.mT, atol=1e-5)
    np.testing.assert_allclose(x @ packed.mT.mT, x @ matrix, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(0, 2**32))
def test_gradients_are_entries_of_the_outer_product(size, seed):
    active, _, packed, x, delta = drawn(size, seed)
    packed.write_gradient(x, delta)
    np.testing.assert_allclose(packed.values.ravel(), (x.mT @ delta).mT[active.mT], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(0, 2**32))
def test_whole_gradients_add_up_beside_the_entries(size, seed):
    active, _, packed, x, delta = drawn(size, seed)
    packed.total = np.ones(active.shape, np.float32)
    packed.write_gradient(x, delta)
    packed.write_gradient(x, 2 * delta)
    np.testing.assert_allclose(packed.total, 1 + 3 * x.mT @ delta, atol=1e-4)
    np.testing.assert_allclose(packed.values.ravel(), (x.mT @ (2 * delta)).mT[active.mT], atol=1e-4)


@pytest.mark.parametrize("size", several_tiles)
def test_more_samples_than_are_worked_on_at_a_time(size):
    active, matrix, packed, x, delta = drawn(size)
    np.testing.assert_allclose(x @ packed, x @ matrix, atol=1e-4)
    np.testing.assert_allclose(delta @ packed.mT, delta @ matrix.mT, atol=1e-4)
    packed.write_gradient(x, delta)
    np.testing.assert_allclose(packed.values.ravel(), (x.mT @ delta).mT[active.mT], atol=1e-3)


def test_values_are_live():
    _, matrix, packed, x, _ = drawn((2, 5, 6, 7, 0.5))
    packed.values *= 2
    np.testing.assert_allclose(x @ packed, x @ (2 * matrix), atol=1e-5)


def test_a_member_is_bitwise_as_if_it_were_alone():
    active, matrix, packed, x, delta = drawn((3, 70, 30, 20, 0.3))
    one = slice(1, 2)
    alone = PackedMatrix(Pattern.of(active[one]), matrix[one].mT[active[one].mT].reshape(1, -1))
    np.testing.assert_array_equal((x @ packed)[one], x[one] @ alone)
    packed.write_gradient(x, delta)
    alone.write_gradient(x[one], delta[one])
    np.testing.assert_array_equal(packed.values[one], alone.values)


def test_results_lie_feature_by_feature_and_either_order_is_taken():
    _, _, packed, x, _ = drawn((2, 5, 6, 7, 0.5))
    out = x @ packed
    assert out.mT.flags.c_contiguous
    np.testing.assert_array_equal(np.ascontiguousarray(x.mT).mT @ packed, out)


def test_what_is_not_a_number_stays_so():
    _, matrix, packed, x, _ = drawn((1, 4, 3, 3, 1.0))
    x[0, 1, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(x @ packed), np.isnan(x @ matrix))


def test_products_are_compiled_anew_where_nothing_can_be_kept(monkeypatch, request):
    import numba

    def njit(cache=False, **options):
        def compiled(function):
            if cache:
                raise RuntimeError("cannot cache function")
            return numba.core.decorators.njit(**options)(function)

        return compiled

    request.addfinalizer(packed_matrix.kernels.cache_clear)
    packed_matrix.kernels.cache_clear()
    monkeypatch.setattr(numba, "njit", njit)
    _, matrix, packed, x, _ = drawn((2, 5, 6, 7, 0.5))
    np.testing.assert_allclose(x @ packed, x @ matrix, atol=1e-5)


@pytest.fixture
def asked_anew():
    can_multiply.cache_clear()
    yield
    can_multiply.cache_clear()


def test_without_the_compiler_nothing_is_said(asked_anew, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert not can_multiply()
    assert caplog.text == ""


@pytest.mark.parametrize(
    "error", [ImportError("needs NumPy 2.1 or less"), TypeError("ABI"), SystemError(), SystemExit(3)]
)
def test_a_compiler_that_fails_at_its_import_is_as_good_as_none(error, asked_anew, monkeypatch, caplog):
    """As where it refuses a newer numpy."""

    def fail(name):
        raise error

    monkeypatch.setattr(packed_matrix, "import_module", fail)
    assert not can_multiply()
    assert not can_multiply()
    assert (
        caplog.text.count(f"numba fails and is not used, so sparse networks train slower: {type(error).__name__}") == 1
    )
