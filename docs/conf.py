"""Sphinx configuration. Build with ``make docs``: warnings are errors, and the network is not used."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "parsl-context"
author = "the parsl-context developers"
copyright = author
version = release = installed_version("parsl-context")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "from_source",  # docs/_ext
]
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_mock_imports = [
    "globus_compute_common",
    "globus_compute_endpoint",
    "globus_compute_sdk",
    "globus_sdk",
    "pika",
]
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 90
default_role = "py:obj"  # code, and a link where there is something to link to

html_theme = "furo"
html_title = "parsl-context"
html_static_path = []
pygments_style = "tango"
