"""The report as one HTML page: no file and no network beside it. Its data lie in it, compressed."""

from __future__ import annotations

import base64
import html
import json
import zlib
from importlib import resources
from typing import Any

from parsl_context.report.figures import Report


def page(report: Report) -> str:
    """The text of the page."""
    parts = {
        "title": html.escape(f"{report.totals.label}: report of a run"),
        "uplot_css": _asset("uPlot.min.css"),
        "uplot_js": _asset("uPlot.iife.min.js"),
        "uplot_licence": html.escape(_asset("uPlot.LICENSE")),
        "page_css": _asset("page.css"),
        "page_js": _asset("page.js"),
        "data": packed(
            {**report.tables(), "lines": report.lines, "timeline": report.timeline, "advice": report.advice}
        ),
    }
    text = _asset("page.html")
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part)
    return text


def packed(data: dict[str, Any]) -> str:
    """Data as the page has them: JSON, deflated, in base64."""
    text = json.dumps(_rounded(data), separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")


def _rounded(value: Any) -> Any:
    """Numbers with as many digits as are looked at."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if abs(value) < 1e6 else round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple) and not (value and isinstance(value[0], int)):
        return [_rounded(each) for each in value]
    return value


def _asset(name: str) -> str:
    return (resources.files("parsl_context.report") / "assets" / name).read_text("utf-8")
