"""How Sphinx builds the site: `nox -s docs`."""

import sys
import warnings
from pathlib import Path

import matplotlib as mpl

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE / "performance")]

import page  # noqa: E402

import arrayrnn  # noqa: E402

page.write()  # from what was measured, before Sphinx looks for pages

project = "arrayrnn"
author = "the arrayrnn developers"
copyright = author  # noqa: A001
version = release = arrayrnn.__version__

extensions = [
    "inventories",
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery", "performance"]
templates_path = ["_templates"]
# What stands in single backticks in a docstring is a parameter, or a name that may be known.
default_role = "py:obj"
python_use_unqualified_type_names = True
suppress_warnings = ["config.cache"]  # a function among the options of sphinx-gallery

# ------------------------------------------------------------------------------------- reference

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections have the types
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
# Parameters that do not exist, missing docstrings, missing results.
numpydoc_validation_checks = {"GL08", "PR02", "RT01"}
numpydoc_validation_exclude = {
    r"StepFunction",
    r"\.cells\.\w+\.(?!initial|project$|to$|__call__)",  # not shown, or attributes
}

# ----------------------------------------------------------------------------------------- pages

myst_heading_anchors = 3
highlight_options = {
    name: {"stripnl": True} for name in ("default", "python", "python3", "pycon", "pycon3")
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

plot_formats = [("png", 160)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_include_source = True


# --------------------------------------------------------------------------------------- gallery


def reset(configuration: dict[str, object], script: str, when: str) -> None:
    """Give each script the look of the site, and let none of them warn."""
    if when == "after":
        warnings.filters[:] = FILTERS
        return
    mpl.rcParams.update(
        {
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 100,
            "font.size": 12.5,  # read on a phone, too
            "savefig.dpi": 160,
        }
    )
    warnings.simplefilter("error")


FILTERS = [*warnings.filters]
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"plot_",
    "within_subsection_order": "gallery_order.Order",
    "reset_modules": ("matplotlib", reset),
    "reset_modules_order": "both",
    "abort_on_example_error": True,
    "capture_repr": (),
    "min_reported_time": 5,
    "show_memory": False,
    "remove_config_comments": True,
    "default_thumb_file": str(HERE / "_static" / "nile.png"),
    "download_all_examples": False,
    "write_computation_times": False,
    "doc_module": ("arrayrnn",),
    "backreferences_dir": "reference/generated/backreferences",
    "nested_sections": False,
}

# ------------------------------------------------------------------------------------------ html

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"arrayrnn {version}"
html_show_sourcelink = False
ALONE = ("changelog", "contributing", "design", "libraries", "performance", "start")
html_sidebars = {page: [] for page in ("index", *ALONE)}  # no pages lie beneath them
WITH_CONTENTS = (*ALONE, "guide/*", "migration/*", "reference/generated/*")
html_theme_options = {
    "logo": {"text": "arrayrnn"},
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "show_toc_level": 2,
    "show_prev_next": True,
    "use_edit_page_button": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": {page: ["page-toc"] for page in WITH_CONTENTS},
}
