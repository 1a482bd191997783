"""A policy on a model: built whole, or refused with the reason."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tiny_pipelines import ready
from toy_server import policy_of

from evenhand.errors import DeclinedError, InputError
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.records import Settings
from evenhand.serve.kit import Kit, build_kit
from evenhand.serve.local import LocalMaker
from evenhand.serve.order import Application, Order
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.verbs.fits import Fits
from evenhand.watch import Silent


@pytest.fixture
def host() -> Iterator[Host]:
    with Host.wrap(ready("sd1"), name="tiny", defaults=Settings(steps=10, guidance=4.0)) as wrapped:
        yield wrapped


def kit_of(host: Host, *specs: str, **fields: Any) -> Kit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build_kit(policy_of(**fields), specs, host, Silent())


def test_without_wishes_nothing_is_attached(host: Host) -> None:
    assert kit_of(host) == Kit()


def test_safety_rules_are_one_term_with_their_strengths(host: Host) -> None:
    rules = [{"name": "violence", "text": "blood"}, {"name": "fire", "text": "fire", "strength": 0.5, "preset": "weak"}]
    (term,) = kit_of(host, safety=rules).always
    (policy,) = {one for one in term.policies(_call()) if one}  # type: ignore[attr-defined]
    assert [(one.text, one.weight, one.scale) for one in policy.categories] == [
        ("blood", 1.0, 2000),
        ("fire", 0.5, 200),
    ]


def _call() -> Any:
    from evenhand.host.sites import Call

    return Call(prompts=("a",), images=1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"safety": [{"name": "violence"}]}, "has no words for unsafe"),
        (
            {"safety": [{"name": "a", "text": "blood"}, {"name": "b", "text": "blood"}]},
            "has the category 'blood' twice",
        ),
        ({"fairness": [{"concept": "gender", "method": "sega"}]}, "expected one that takes class="),
        ({"fairness": [{"concept": "gender", "method": "nothing"}]}, "expected one that takes class="),
        ({"interventions": {"calm": {"with": "safe-guidence"}}}, 'did you mean "safe-guidance"'),
        ({"interventions": {"calm": {"with": "concept-vector:concept=gender"}}}, r"under \[\[fairness\]\]"),
    ],
)
def test_what_cannot_hold_is_refused_with_the_reason(host: Host, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kit_of(host, **fields)


def test_guidance_of_one_holds_no_safe_guidance() -> None:
    with (
        Host.wrap(ready("sd1"), name="tiny", defaults=Settings(steps=10, guidance=1.0)) as host,
        pytest.raises(InputError, match="cannot hold on tiny: its guidance is 1"),
    ):
        kit_of(host, safety=[{"name": "violence", "text": "blood"}])


def test_a_window_without_a_step_is_found_by_the_rehearsal() -> None:
    with (
        Host.wrap(ready("sd1"), name="tiny", defaults=Settings(steps=2, guidance=4.0)) as host,
        pytest.raises(InputError, match="cannot hold on tiny: safe-guidance is inert"),
    ):
        kit_of(host, interventions={"calm": {"with": "safe-guidance:text=blood,warmup=7"}})


def test_a_method_that_declines_is_unusable_input(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def decline(self: Fits, plan: Any) -> Any:
        raise DeclinedError("the noise decides nothing")

    monkeypatch.setattr(Fits, "obtain", decline)
    for method in ("concept-vector", "noise-direction"):
        with pytest.raises(InputError, match=r"cannot hold on tiny: .*the noise decides nothing"):
            kit_of(host, fairness=[{"concept": "gender", "method": method}])


def test_stacks_are_attached_in_the_policy_s_order(host: Host) -> None:
    """Whatever the order in a request, so that neighbours cannot change it."""
    kit = kit_of(host, interventions={"b": {"with": "negative-prompt:text=x"}, "a": {"with": "sega:text=y"}})
    one, other = Application(name="+a"), Application(name="+b")
    for stack in ((one, other), (other, one)):
        order = Order(row="x", prompt="x", index=0, seed=0, stack=stack)
        assert [found.name for found in kit.attachables([order])] == ["negative-prompt", "sega"]


def test_fairness_and_safety_on_skewville_in_one_batch() -> None:
    """Each image shows its own class: their pictures differ, and do not depend on the neighbour."""
    settings = Settings(steps=3, guidance=1.25)
    with Host.wrap(load_pipeline(MODEL_DIRECTORY), name="skewville", defaults=settings) as host:
        rules = [{"concept": "gender"}]
        kit = kit_of(host, safety=[{"name": "violence"}], fairness=rules)
        maker = LocalMaker(host, kit, 2)

        def order(**classes: str) -> Order:
            stack = tuple(Application(name=f"{concept}={shown}") for concept, shown in classes.items())
            return Order(
                row="a photo of a nurse", prompt="a photo of a nurse", index=0, seed=3, classes=classes, stack=stack
            )

        female, male = order(gender="female"), order(gender="male")
        together = maker([female, male], settings, lambda: False)
        plain, alone = maker([order(), male], settings, lambda: False)
        assert together[1] is not None
        assert alone is not None
        assert plain is not None
        np.testing.assert_array_equal(together[1], alone)
        assert np.abs(plain.astype(int) - alone.astype(int)).max() > 20
        assert np.abs(np.asarray(together[0]).astype(int) - alone.astype(int)).max() > 20
