"""TensorFlow kept quiet and on one thread, and what was compared how, below the results."""

import os
import sys

# Read by TensorFlow when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")


def pytest_terminal_summary(terminalreporter):
    comparing = sys.modules.get("comparing")
    if comparing and comparing.COUNTS:
        terminalreporter.section("compared with the reference")
        for name, count in comparing.COUNTS.most_common():
            terminalreporter.write_line(f"{count:6} {name}")
