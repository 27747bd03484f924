"""How Sphinx builds the documentation site; ``scripts/docs`` calls it."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx_gallery.sorting import FileNameSortKey

import dashpot

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "Dashpot"
author = "the Dashpot contributors"
version = release = dashpot.__version__
language = "en"
locale_dirs = ["locale"]
gettext_compact = False
templates_path = ["_templates"]
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "chinese",
    "mathml",
    "measured",
    "pages",
    "references",
]
exclude_patterns = ["_build", "gallery", "examples/*.py", "examples/*.ipynb", "examples/*.zip"]
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist", "attrs_inline"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = True
napoleon_use_admonition_for_examples = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Class attributes", "Attributes")]
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "within_subsection_order": FileNameSortKey,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "remove_config_comments": True,
    "image_srcset": ["2x"],
    "backreferences_dir": None,
}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "Dashpot"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "Dashpot"},
    "header_links_before_dropdown": 7,
    "navbar_end": ["language", "theme-switcher"],
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "show_prev_next": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {page: [] for page in ("index", "start", "which", "mathematics", "combinations")}
html_context = {"default_mode": "auto"}
html_show_copyright = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
