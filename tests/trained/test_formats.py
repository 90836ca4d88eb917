"""Exported files: each acts as its network does, a damaged one is refused, and the packed one is as documented."""

import ast
import json
import math
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.trained import numpy_policy
from rlsparse.trained.compact import Network, rounded
from rlsparse.trained.export_formats import FORMS, WEIGHTS, load_onnx

ABOUT = {"env": "Pull-v0", "seed": 3, "source": "runs/café"}


def network_of(widths, obs_size, density=0.3, seed=0, clip=2.0):
    """A random network that reads some of its observations; its numbers are those of fp16."""
    rng = np.random.default_rng(seed)
    layers = []
    for fan_in, fan_out in zip(widths, widths[1:], strict=False):
        weight = rng.standard_normal((fan_in, fan_out)) * (rng.random((fan_in, fan_out)) < density)
        layers.append((weight, rng.standard_normal(fan_out)))
    inputs = np.sort(rng.permutation(obs_size)[: widths[0]])
    low = rng.standard_normal(widths[-1])
    network = Network(
        obs_size,
        inputs,
        rng.standard_normal(len(inputs)),
        np.full(len(inputs), clip),
        tuple(layers),
        low,
        low + rng.random(widths[-1]),
    )
    return rounded(network, np.float16)


NETWORK = network_of([5, 16, 12, 3], 7)
OBS = (3 * np.random.default_rng(1).standard_normal((40, 7))).astype(np.float32)


def saved(folder, name, network=NETWORK, precision="fp32"):
    """Write the files of a format; returns the policy's."""
    form = FORMS[name]
    for file, content in form.write(network, precision, ABOUT).items():
        (folder / file).write_bytes(content)
    return folder / form.files[0]


@pytest.fixture
def packed(tmp_path):
    return saved(tmp_path, "numpy", precision="fp16")


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("precision", WEIGHTS)
@pytest.mark.parametrize("widths", [[5, 16, 12, 3], [5, 3], [1, 1, 1], [7, 4, 2]])
def test_every_format_acts_as_the_network(tmp_path, name, precision, widths):
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    network = network_of(widths, 7)
    policy = FORMS[name].load(saved(tmp_path, name, network, precision))
    np.testing.assert_allclose(policy(OBS), network(OBS), rtol=0, atol=1e-6)
    assert policy(OBS).dtype == np.float32
    assert policy(OBS[:0]).shape == (0, widths[-1])


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("clip", [math.inf, 0.25])
def test_every_format_clips_what_it_reads(tmp_path, name, clip):
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    network = network_of([5, 8, 2], 7, clip=clip)
    policy = FORMS[name].load(saved(tmp_path, name, network))
    np.testing.assert_allclose(policy(100 * OBS), network(100 * OBS), rtol=0, atol=1e-6)


def test_one_observation_is_a_row_of_many(packed):
    policy = numpy_policy.load(packed)
    together = policy(OBS)
    for obs, action in zip(OBS, together, strict=True):
        assert policy(obs).shape == (3,)
        np.testing.assert_allclose(policy(obs), action, rtol=0, atol=1e-6)
    np.testing.assert_allclose(policy(OBS.reshape(2, 20, 7)), together.reshape(2, 20, 3), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(policy(OBS[0].astype(float).tolist()), policy(OBS[0]))


def test_acting_leaves_the_observation_as_it_was(packed):
    obs = OBS.copy()
    numpy_policy.load(packed)(obs)
    np.testing.assert_array_equal(obs, OBS)


def test_the_packed_file_has_the_documented_bytes(packed):
    """Read as docs/export.md says, number by number."""
    data, at = packed.read_bytes(), 0

    def read(form):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values

    def bits(count):
        row = read(f"{(count + 7) // 8}B")
        return [bool(row[i // 8] >> i % 8 & 1) for i in range(count)]

    assert data[:4] == b"RLSP"
    at = 4
    version, weight_bytes, checksum, obs_size, about_size, depth = read("HHIIII")
    assert (version, weight_bytes, checksum) == (1, 2, zlib.crc32(data[12:]))
    assert obs_size == 7
    assert read(f"{depth + 1}I") == (5, 16, 12, 3)
    assert json.loads(bytes(read(f"{about_size}B"))) == ABOUT
    assert [i for i, present in enumerate(bits(7)) if present] == NETWORK.inputs.tolist()
    for vector in (NETWORK.shift, NETWORK.limit):
        assert read("5f") == tuple(vector)
    for weight, bias in NETWORK.layers:
        present = bits(weight.size)
        values = iter(read(f"{sum(present)}e"))
        assert [next(values) if there else 0.0 for there in present] == weight.ravel().tolist()
        assert read(f"{len(bias)}f") == tuple(bias)
    for vector in (NETWORK.low, NETWORK.high):
        assert read("3f") == tuple(vector)
    assert at == len(data)


def test_the_packed_file_takes_a_bit_and_what_is_there(tmp_path):
    """At 90 % sparsity and half precision 12 times smaller than fp32, but for biases and the header."""
    network = network_of([256, 256], 256, density=0.1)
    size = saved(tmp_path, "numpy", network, "fp16").stat().st_size
    values = 256 * 256 // 8 + 2 * network.num_weights
    assert values < size < values + 4 * (5 * 256) + 256


@given(position=st.integers(0, 10**6), change=st.integers(1, 255))
def test_a_packed_file_with_any_byte_changed_is_refused(tmp_path_factory, position, change):
    folder = tmp_path_factory.mktemp("changed")
    path = saved(folder, "numpy")
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= change
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged or cut short|not an .rlsp policy of version 1"):
        numpy_policy.load(path)


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_packed_file_cut_short_is_refused(tmp_path_factory, share):
    path = saved(tmp_path_factory.mktemp("cut"), "numpy")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match="damaged or cut short|not an .rlsp policy of version 1") as refusal:
        numpy_policy.load(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_memory_is_taken_for_weights_that_a_file_does_not_hold(tmp_path, monkeypatch):
    """Whoever made it made its checksum right."""
    body = struct.pack("<III2I", 1, 2, 1, 1, 2**32 - 1) + b"{}" + b"\1" + bytes(8)
    path = tmp_path / "policy.rlsp"
    path.write_bytes(b"RLSP\1\0" + struct.pack("<HI", 4, zlib.crc32(body)) + body)
    monkeypatch.setattr(numpy_policy.np, "zeros", lambda *_: pytest.fail("memory was taken"))
    with pytest.raises(ValueError, match="buffer"):
        numpy_policy.load(path)


@pytest.mark.parametrize("shape", [(), (6,), (8,), (4, 8)])
def test_observations_of_another_size_are_refused(packed, shape):
    with pytest.raises(ValueError, match="expected 7 numbers"):
        numpy_policy.load(packed)(np.zeros(shape))


def test_the_packed_policy_says_what_it_is(packed):
    assert numpy_policy.load(packed).about == ABOUT


def test_the_files_of_numpy_are_enough(tmp_path):
    """In a folder of their own, in a process that never sees this library or torch."""
    saved(tmp_path, "numpy")
    program = (
        "from numpy_policy import load; action = load('policy.rlsp')([0.0] * 7); print(*action.tolist()); "
        "import sys; assert not {'rlsparse', 'torch', 'gymnasium', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose([float(x) for x in done.stdout.split()], NETWORK(np.zeros((1, 7)))[0], atol=1e-6)


def test_the_reader_that_travels_needs_numpy_alone():
    """It is of Python 3.8, which robots still have."""
    source = Path(numpy_policy.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    found = set()
    assert "strict=" not in source, "zip knows strict from Python 3.10 on"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    assert found - set(sys.stdlib_module_names) == {"numpy"}


def test_the_reader_that_travels_is_short():
    assert len(Path(numpy_policy.__file__).read_text(encoding="utf-8").splitlines()) <= 60


def test_an_onnx_model_is_checked_named_and_takes_any_batch(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = saved(tmp_path, "onnx")
    model = onnx.load(path)
    assert [x.name for x in model.graph.input] == ["observation"]
    assert [x.name for x in model.graph.output] == ["action"]
    assert {p.key: p.value for p in model.metadata_props} == {name: str(value) for name, value in ABOUT.items()}
    policy = load_onnx(path)
    for count in (1, 2, 40):
        np.testing.assert_allclose(policy(OBS[:count]), NETWORK(OBS[:count]), rtol=0, atol=1e-6)
    # the specification's own interpreter, which shares no code with onnxruntime
    from onnx.reference import ReferenceEvaluator

    (actions,) = ReferenceEvaluator(model).run(None, {"observation": OBS})
    np.testing.assert_allclose(actions, NETWORK(OBS), rtol=0, atol=1e-6)
