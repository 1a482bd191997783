"""A policy for `evenhand serve` that holds what the stack does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..concepts.concept import Concept
from ..concepts.library import load_concept
from ..errors import InputError
from ..files import slug, write_bytes
from ..methods.spec import Spec, parse_spec
from ..methods.table import method_of
from ..serve.policy import PROMPT_MIX, Policy, load_policy

_OWN = {"concept", "allocation", "strength", "class", "filter"}
"""What a fairness rule says itself, or decides for each image."""


def policy_text(specs: Sequence[str], concepts: Sequence[Concept], *, name: str = "studio") -> str:
    """The stack as TOML.

    A method that gives images classes becomes a fairness rule with the target, safe guidance a safety rule. Everything
    else is offered to requests by name: a server applies it where it is asked for.

    Args:
        specs: the stack, in order.
        concepts: what is looked at, with targets.
        name: of the policy.

    Raises: InputError for an empty stack, an unknown method, or a saved intervention, which `serve --with` takes.
    """
    if not specs:
        raise InputError("the stack is empty: a policy holds interventions, add one on the page Fix first")
    targets = {one.name: one for one in concepts}
    parts = [f'schema = "evenhand.serving-policy/1"\nname = {json.dumps(name)}\nversion = 1\n']
    for number, text in enumerate(specs, 1):
        spec = parse_spec(text)
        if spec.path is not None:
            raise InputError(f"{text} is a saved intervention: give it to `evenhand serve --with {spec.path}` itself")
        parts.append(_rule(spec, number, targets))
    return "\n".join(parts)


def write_policy(text: str, folder: Path) -> tuple[Path, Policy]:
    """Write the policy and read it as the server will.

    Raises: InputError for what the server would refuse; StorageError when the disk fails.
    """
    path = folder / "policy.toml"
    write_bytes(path, text.encode())
    return path, load_policy(path)


def _rule(spec: Spec, number: int, targets: dict[str, Concept]) -> str:
    method, _ = method_of(spec)
    named = spec.parameters.get("concept")
    concept = targets.get(named) or load_concept(named) if named else None
    takes = {one.name for one in method.parameters}
    classes = method.name == PROMPT_MIX or {"concept", "class"} <= takes
    if classes and concept is not None and concept.kind == "attribute":
        return _fairness(spec, concept)
    if spec.method == "safe-guidance":
        return _safety(spec, number)
    return f"[interventions.{slug(spec.method)}-{number}]\nwith = {json.dumps(spec.text, ensure_ascii=False)}\n"


def _fairness(spec: Spec, concept: Concept) -> str:
    more = ",".join(f"{key}={value}" for key, value in spec.parameters.items() if key not in _OWN)
    method = f"{spec.method}:{more}" if more and spec.method != PROMPT_MIX else spec.method
    shares = ", ".join(
        f"{json.dumps(name)} = {share!r}" for name, share in zip(concept.class_names, concept.reference, strict=True)
    )
    lines = [f"concept = {json.dumps(spec.parameters['concept'])}", f"method = {json.dumps(method)}"]
    return "\n".join(["[[fairness]]", *lines, f"target = {{ {shares} }}", ""])


def _safety(spec: Spec, number: int) -> str:
    lines = [f"name = {json.dumps(f'safety-{number}')}"]
    for key in ("text", "concept", "preset"):
        if key in spec.parameters:
            lines.append(f"{key} = {json.dumps(spec.parameters[key], ensure_ascii=False)}")
    if "strength" in spec.parameters:
        lines.append(f"strength = {float(spec.parameters['strength'])!r}")
    return "\n".join(["[[safety]]", *lines, ""])
