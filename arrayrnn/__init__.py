"""The recurrent loop, for every array library: iterate a step function over the time dimension.

The arrays that are passed in decide which library runs the loop: anything that follows the Python
array API standard.
"""

from arrayrnn._bidirectional import bidirectional
from arrayrnn._pad import pad_sequences
from arrayrnn._reverse import reverse_sequence
from arrayrnn._rnn import rnn
from arrayrnn._scan import scan
from arrayrnn._stream import Stream
from arrayrnn._typing import StepFunction
from arrayrnn._unpad import unpad_sequences

__all__ = [
    "StepFunction",
    "Stream",
    "__version__",
    "bidirectional",
    "pad_sequences",
    "reverse_sequence",
    "rnn",
    "scan",
    "unpad_sequences",
]

__version__ = "0.1.0"
