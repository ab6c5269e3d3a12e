"""The recurrent loop, for every array library: iterate a step function over the time dimension.

rnn
    `tf.keras.backend.rnn`, with states, masks, lengths, constants and both directions.
scan
    `jax.lax.scan`.
associative_scan
    `jax.lax.associative_scan`: elements combined with all before them, in few operations.
linear_scan
    A linear recurrence in few operations, with masks and lengths.
bidirectional
    A recurrence in both directions, their outputs merged at each timestep.
Stream
    A sequence that comes in chunks, with the results of one call.
pad_sequences, unpad_sequences
    From a list of sequences of different lengths to one array and its lengths, and back.
reverse_sequence
    Each sample's own timesteps reversed, the padding left in place.
compiled.rnn, compiled.scan
    The loop as one compiled program: ``from arrayrnn import compiled``.
cells.LSTM, cells.GRU, cells.SimpleRNN, cells.run
    Recurrent cells, with weights from PyTorch, Keras and ONNX: ``from arrayrnn import cells``.

The arrays that are passed in decide which library runs the loop: anything that follows the Python
array API standard. ``help(arrayrnn.rnn)`` says all there is to say of one function.
"""

from arrayrnn._associative_scan import associative_scan
from arrayrnn._bidirectional import bidirectional
from arrayrnn._linear_scan import linear_scan
from arrayrnn._padding import pad_sequences, unpad_sequences
from arrayrnn._reversal import reverse_sequence
from arrayrnn._rnn import rnn
from arrayrnn._scan import scan
from arrayrnn._stream import Stream
from arrayrnn._typing import StepFunction

__all__ = [
    "StepFunction",
    "Stream",
    "__version__",
    "associative_scan",
    "bidirectional",
    "linear_scan",
    "pad_sequences",
    "reverse_sequence",
    "rnn",
    "scan",
    "unpad_sequences",
]

__version__ = "0.1.0"
