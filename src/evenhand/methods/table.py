"""The methods by name. A new one adds its file and its row here; everything else derives from the table."""

from __future__ import annotations

from collections.abc import Mapping

from evenhand.concepts.reading import did_you_mean
from evenhand.errors import InputError
from evenhand.host.sites import Attachable
from evenhand.methods import negative_prompt, prompt_mix, safe_guidance, sega
from evenhand.methods.method import Method, Setting
from evenhand.methods.spec import Spec

METHODS: Mapping[str, Method] = {
    one.name: one for one in (safe_guidance.METHOD, sega.METHOD, negative_prompt.METHOD, prompt_mix.METHOD)
}


def intervention(spec: Spec, setting: Setting) -> Attachable:
    """The intervention of a SPEC.

    Raises:
        InputError: an unknown method, or parameters that it cannot use.
    """
    method = METHODS.get(spec.method)
    if method is None:
        raise InputError(
            f"--with {spec.text}: there is no method {spec.method!r}; expected {', '.join(METHODS)}"
            f"{did_you_mean(spec.method, METHODS)}"
        )
    return method.build(setting, method.read(spec.parameters))
