"""Hostile files, each made from a good one or from nothing; whoever made them also made their digests right."""

import hashlib
import json
import os
import struct
from copy import deepcopy
from functools import partial

import numpy as np
import safetensors.numpy

from rlsparse.run import policy_file
from rlsparse.run.checkpoint import encode_arrays
from rlsparse.run.reading import seal, unseal

JUNK = {
    "nothing": None,
    "yes": True,
    "minus one": -1,
    "zero": 0,
    "one and a half": 1.5,
    "65 bits": 2**64,
    "minus 200 bits": -(2**200),
    "a thousand bits": 2**1000,
    "beyond float32": 1e300,
    "not a number": float("nan"),
    "infinite": float("inf"),
    "no text": "",
    "escapes": "\x1b]0;x\x07\x1b[2J\r\n\u202e",
    "half a character": "\ud800",
    "a path": "../../../etc/passwd",
    "a long text": "x" * 100_000,
    "no list": [],
    "a list in a list": [[]],
    "ten thousand": [8191] * 10_000,
    "an empty table": {},
    "a table": {"kind": {"kind": []}},
}
"""Values that hardly any field expects."""

NOT_JSON = {
    "nothing": b"",
    "null bytes": b"\0" * 1000,
    "not utf-8": b'{"a": "\xff\xfe"}',
    "half": b'{"a": [1, 2',
    "a list": b"[]",
    "a number": b"1",
    "nested lists": b"[" * 200_000,
    "nested objects": b'{"a":' * 200_000,
    "5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "not a number": b'{"a": NaN}',
    "a key twice": b'{"a": 1, "a": 2}',
    "a pickle": b"cos\nsystem\n(S'touch marker'\ntR.",
}
"""Contents that no JSON file may have."""

NOT_TOML = {
    "nothing": b"",
    "null bytes": b"\0" * 1000,
    "not utf-8": b'a = "\xff\xfe"',
    "half": b"a = [1, 2",
    "nested lists": b"a = " + b"[" * 100_000,
    "nested tables": b"a=" + b"{a=" * 50_000,
    "dots": b".".join([b"a"] * 100_000) + b" = 1",
    "dots in a header": b"[" + b".".join([b"a"] * 100_000) + b"]",
    "few dots": b".".join([b"a"] * 200) + b" = 1",
    "5,000 digits": b"seed = " + b"9" * 5000,
    "50,000 digits to base 16": b"seed = 0x" + b"f" * 50_000,
    "a date": b"env = 2020-01-01\nseed = 10:00:00",
    "large": b"#" * 2**19,
}
"""Contents that no TOML file may have."""


def entries():
    """Yield, by name, what makes an entry of a folder be anything but a file of ours."""
    yield "a pipe", os.mkfifo
    yield "endless", lambda path: path.symlink_to("/dev/zero")
    yield "a link to itself", lambda path: path.symlink_to(path.name)
    yield "a link to nothing", lambda path: path.symlink_to("nowhere")
    yield "a folder", lambda path: path.mkdir()
    yield "nothing", lambda path: path.write_bytes(b"")
    yield "a hole of a terabyte", lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**40)
    yield "one byte", lambda path: path.write_bytes(b"\xff")


def places(value, where=()):
    """Yield the place of every value in nested tables and lists, but of the whole."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, x in items:
        yield (*where, key)
        yield from places(x, (*where, key))


def changed(body, where, *new):
    """A body with a new value at a place, or with none."""
    body = deepcopy(body)
    inner = body
    for key in where[:-1]:
        inner = inner[key]
    if new:
        inner[where[-1]] = new[0]
    else:
        del inner[where[-1]]
    return body


def junk(body):
    """Yield, by name, what makes the body with junk at a place, or without that place, for all of its places."""
    for where in places(body):
        name = ".".join(map(str, where))
        yield f"{name} missing", partial(changed, body, where)
        for kind, x in JUNK.items():
            yield f"{name} is {kind}", partial(changed, body, where, x)


def resealed(path, change):
    """Change what a sealed file holds, and seal it anew."""
    body = unseal(path.read_text().removesuffix("\n"), path)
    path.write_text(seal(change(body)))


# Arrays


def other_arrays(arrays):
    """Yield, by name, other arrays under the same names, of other names, or with other numbers."""
    for name, x in arrays.items():
        yield f"{name} missing", {key: y for key, y in arrays.items() if key != name}
        for dtype in {"float16", "float64", "int64", "uint8", "bool"} - {x.dtype.name}:
            yield f"{name} as {dtype}", arrays | {name: np.zeros(x.shape, dtype)}
        yield f"{name} turned", arrays | {name: x.T.copy()[None]}
        yield f"{name} empty", arrays | {name: x[:0]}
        yield f"{name} twice as many", arrays | {name: np.concatenate([np.atleast_1d(x)] * 2)}
        yield f"{name} not finite", arrays | {name: np.full_like(x, np.nan if x.dtype.kind == "f" else 1)}
        yield f"{name} low", arrays | {name: np.full_like(x, -(2**62) if x.dtype == np.int64 else 0)}
    yield "one too many", arrays | {"extra": np.zeros(3)}
    yield "none", {}


def broken_headers(content):
    """Yield, by name, a safetensors document with a header that lies."""
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    names = [name for name in header if name != "__metadata__"]

    def document(text):
        return struct.pack("<Q", len(text)) + text + data

    def told(name, field, x):
        return f"{name} has {field} {str(x)[:20]}", document(json.dumps(changed(header, (name, field), x)).encode())

    for length in (0, 1, 2**20, 2**31, 2**63, 2**64 - 1):
        yield f"a header of {length}", struct.pack("<Q", length) + content[8:]
    for name in names:
        end = header[name]["data_offsets"][1]
        for offsets in ([0, 0], [end, 0], [-1, end], [0, 2**63], [0, 2**64], [0.5, end], [end, end], "x", None, []):
            yield told(name, "data_offsets", offsets)
        for shape in ([], [2**32, 2**32], [-1], [0], [1.5], None, [2**40], [1] * 2000):
            yield told(name, "shape", shape)
        for dtype in ("F128", "O", "", None, 1, "F8_E5M2", "C64", "I4"):
            yield told(name, "dtype", dtype)
        again = f', "{name}": {json.dumps(header[name])}}}'
        yield f"{name} twice", document((json.dumps(header)[:-1] + again).encode())
    for name, text in NOT_JSON.items():
        yield f"a header that is {name}", document(text)


# Policy files


def policy_parts(content):
    """What a policy file says, and its arrays."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    recorded = json.loads(header["__metadata__"]["policy"])
    del recorded["sha256"]
    return recorded, safetensors.numpy.load(content)


def policies(content):
    """Yield, by name, hostile policy files."""
    recorded, arrays = policy_parts(content)
    for name, body in junk(recorded):
        yield name, policy_file._encode(body(), arrays)
    for name, other in other_arrays(arrays):
        yield name, policy_file._encode(recorded, other)
    for text in NOT_JSON.values():
        yield "metadata that is none", encode_arrays(arrays, {"policy": text.decode("latin-1")})
    yield "no metadata", encode_arrays(arrays)
    wide = changed(recorded, ("recipe", "policy", "actor_hidden"), [8191] * 3)
    yield "wide networks", policy_file._encode(wide, arrays)
    yield from broken_headers(content)


# Checkpoints


def manifest_of(folder):
    """The manifest of a checkpoint as nested values."""
    return unseal((folder / "manifest.json").read_text(), folder, 1)


def replace_file(folder, name, content):
    """Replace a file of a checkpoint, or add one; its manifest vouches for it."""
    (folder / name).write_bytes(content)
    described = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    resealed(folder / "manifest.json", lambda body: changed(body, ("files", name), described))
