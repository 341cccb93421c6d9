"""Plug-ins of the registry."""

from .registry import register


@register("double")
def double(value):
    return 2 * value


@register("plugin")
class Plugin:
    pass
