"""examples/first_steps.ipynb runs from its first cell to its last, here with few steps."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PAGE = Path(__file__).resolve().parent.parent / "examples" / "first_steps.ipynb"

FEW = {r"total_steps=[\d_]+": "total_steps=64", r"eval_every=[\d_]+": "eval_every=64", "> 300": "> 0"}
"""What takes long, and what is put in its place."""


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(PAGE, as_version=4)


def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    for cell in notebook.cells:
        for written, instead in FEW.items():
            cell.source = re.sub(written, instead, cell.source)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in shown if output.get("name") == "stderr"]
    assert len(list((tmp_path / "runs").glob("*/*/*/policy.safetensors"))) >= 4


def test_the_notebook_is_kept_without_outputs_for_any_kernel_of_python_3(notebook):
    assert notebook.metadata.kernelspec.name == "python3"
    nbformat.validate(notebook)
    for cell in nbformat.read(PAGE, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
