"""Configuration of Sphinx: `make docs` builds these pages into build/docs."""

import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).parent / "extensions")]

import mnc_jax  # noqa: E402

project = "mnc_jax"
author = copyright = "The mnc_jax authors"
version = release = mnc_jax.__version__

extensions = [
    "myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode",
    "sphinx.ext.mathjax", "outside_files", "config_pages", "docstrings"]
exclude_patterns = ["extensions", "figures"]

html_theme = "sphinx_book_theme"
html_title = "mnc_jax"
html_use_index = False
html_theme_options = {"home_page_in_toc": True, "show_navbar_depth": 1, "show_toc_level": 2}
html_static_path = ["static"]
html_css_files = ["pages.css"]

# Notebooks are run by their own tests; the pages show them without outputs if they have none.
nb_execution_mode = "off"
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 4
myst_fence_as_directive = []

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Degenerate input", "Gradient"]
