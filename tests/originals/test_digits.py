"""The example trains an LSTM, and gets the same accuracy wherever it runs."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "docs/examples/digits.py"


def test_the_accuracy_is_the_same_everywhere(tmp_path):
    command = [sys.executable, str(EXAMPLE), "--epochs", "15", "--folder", str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"^(\w+) +([\d.]+)% of 450 digits$", shown, re.MULTILINE))
    assert {*found} == {"PyTorch", "NumPy", "JAX", "onnxruntime"}, shown
    assert len({*found.values()}) == 1, shown
    assert float(found["NumPy"]) > 90, shown
    assert {path.name for path in tmp_path.iterdir()} == {"digits.safetensors", "digits.onnx"}
