"""Whatever the OpenAPI document allows, and much that it does not, never fails inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from toy_server import Server

BOUNDED = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.filterwarnings("ignore")  # the library's own remarks are not ours to mend
@pytest.mark.parametrize(("mode", "examples"), [("positive", 60), ("negative", 100)])
def test_no_request_fails_inside(serve: Callable[..., Server], mode: str, examples: int) -> None:
    """The same requests in every run; "negative" breaks the document on purpose."""
    server = serve(
        fairness=[{"concept": "gender"}], interventions={"calm": {"with": "safe-guidance"}}, gate={"action": "resample"}
    )
    schema: Any = schemathesis.openapi.from_asgi("/openapi.json", server.app)
    seen: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        posts = operation.method.upper() == "POST"
        if not posts and mode == "negative":
            continue  # there is nothing that one could get wrong

        @settings(BOUNDED, max_examples=examples if posts else 3)
        @given(case=operation.as_strategy(schemathesis.GenerationMode(mode)))
        def check(case: Any) -> None:
            answer = case.call()
            seen[answer.status_code] += 1
            assert answer.status_code < 500, (answer.status_code, answer.text)
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}

        check()
    assert sum(seen.values()) > 50
    assert seen[400] > 0
    assert mode == "negative" or seen[200] > 0
