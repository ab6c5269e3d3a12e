"""`unpad_sequences`: the public function."""

from typing import Any

import array_api_compat

from arrayrnn import _host
from arrayrnn._axes import swap_time_and_samples
from arrayrnn._blocks import unstacked
from arrayrnn._checks import arguments, masks, ragged
from arrayrnn._compilers import never_compiled
from arrayrnn._masking import own_array
from arrayrnn._tree import Nest
from arrayrnn._typing import Output

__all__ = ["unpad_sequences"]


@never_compiled
def unpad_sequences(outputs: Output, lengths: Any, *, time_major: bool = False) -> list[Output]:
    """Take sequences of different lengths out of what they were padded to.

    Parameters
    ----------
    outputs : array or nest of arrays
        ``(samples, time, *features)``, of any features and dtype.
    lengths : array or list of ints
        ``(samples,)``: how many of its first timesteps each sample keeps. Their values have to be
        known: they decide about shapes.
    time_major : bool, default: False
        `outputs` are ``(time, samples, *features)``.

    Returns
    -------
    sequences : list
        For each sample an array ``(length, *features)``, or the nest of such.

    Raises
    ------
    TypeError
        If something is no array or of another library; if `lengths` are no integers, or traced or
        lazy.
    ValueError
        If shapes disagree, or a length is out of range.

    See Also
    --------
    pad_sequences : The way here.
    reverse_sequence : Sequences backwards, the padding still behind. Outputs of `rnn` with
        `go_backwards` begin with the padding: flip their time first.

    Notes
    -----
    After ``torch.nn.utils.rnn.unpad_sequence``
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.rnn.unpad_sequence.html).

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import unpad_sequences
    >>> unpad_sequences(np.asarray([[1, 2, 3], [4, 0, 0]]), [3, 1])
    [array([1, 2, 3]), array([4])]
    """
    time_major = arguments.switch(time_major, "time_major")
    leaves, nest = Nest.of(outputs)
    paths = nest.paths("outputs")
    samples, time = arguments.over_time(outputs, leaves, paths, "outputs", time_major=time_major)
    xp = array_api_compat.array_namespace(leaves[0])
    arguments.placed_alike(xp, leaves, paths, (leaves[0], paths, 0))
    ragged.outputs_to_cut(leaves[0], paths[0], samples, time)
    own_xp, lengths = own_array(xp, lengths, "lengths", "outputs")
    masks.lengths(own_xp, lengths, samples, time, "lengths", "outputs")
    values = _host.read(own_xp, lengths)
    if values is None:
        ragged.fail_unreadable(lengths)
    masks.length_values(values, time, "lengths", "outputs")
    sizes = values.tolist()
    arrays = [swap_time_and_samples(xp, leaf) if time_major else leaf for leaf in leaves]
    columns = [
        [row[:size, ...] for row, size in zip(unstacked(xp, array, samples), sizes, strict=True)]
        for array in arrays
    ]
    return [nest.build(row) for row in zip(*columns, strict=True)]
