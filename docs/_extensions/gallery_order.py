"""The order of the gallery: what is easiest to follow comes first."""

from sphinx_gallery.sorting import ExplicitOrder

NAMES = (
    "nile",
    "sensors",
    "mackey_glass",
    "digits",
    "vowels",
    "state_space",
    "spiking",
    "bucket",
    "dask",
    "onnx",
)


class Order(ExplicitOrder):
    """Sort scripts as listed; one that is missing from the list is an error."""

    def __init__(self, source_folder: str) -> None:
        super().__init__([f"plot_{name}.py" for name in NAMES])
