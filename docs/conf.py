"""Settings of the documentation, which is built by Sphinx. Needs no network."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "aplex"
author = "The aplex authors"
copyright = "2019-2026, The aplex authors"  # noqa: A001 (Sphinx asks for this name)
release = version_of("aplex")
version = ".".join(release.split(".")[:2])

extensions = [
    "benchmark_results",  # in _ext/
    "front_page",  # in _ext/
    "languages",  # in _ext/
    "myst_parser",
    "real_signatures",  # in _ext/
    "report_picture",  # in _ext/
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_ext", "_static", "_templates", "locale"]
default_role = "code"  # single backticks in docstrings are code, as in Markdown

myst_enable_extensions = ["colon_fence", "smartquotes"]
myst_heading_anchors = 3

python_maximum_signature_line_length = 90  # longer ones have a line for each parameter
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # an attribute that is also a property is documented once

# The front page and the tutorial are there in Chinese, too: see CONTRIBUTING.md, "Translate".
locale_dirs = ["locale"]
gettext_compact = False
gettext_location = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_sidebars = {
    "**": [  # those of the theme, and ours
        "sidebar/brand.html",
        "sidebar/search.html",
        "languages.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_title = f"aplex {release}"
html_show_sphinx = False
