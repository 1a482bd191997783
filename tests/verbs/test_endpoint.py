"""An endpoint as the source of an audit, against a server of our own: patience, refusals, the key, and the cost."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ledgers
import pytest
from fake_endpoint import FakeEndpoint, refusal, serving
from toys import ToyHost

from evenhand.errors import EndpointError, EvenhandError, InputError
from evenhand.report.build import write_report
from evenhand.verbs import images_api
from evenhand.verbs.audit import Audit, audit
from evenhand.verbs.compare import prepare_compare
from evenhand.verbs.config import AuditConfig, Effort, EndpointOptions, ImageOptions, ModelOptions, Question
from evenhand.verbs.endpoint import base_url
from evenhand.verbs.prepare import describe, prepare

KEY = "sk-secret-of-the-tests"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, toy: Callable[..., ToyHost]) -> None:
    """No long waits, a toy judge, a key."""
    toy()
    monkeypatch.setattr(images_api, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def fake() -> FakeEndpoint:
    return FakeEndpoint()


@pytest.fixture
def url(fake: FakeEndpoint) -> Iterator[str]:
    with serving(fake) as base:
        yield base


def config(url: str, out: Path | None = None, **changes: Any) -> AuditConfig:
    question = Question(**{"concepts": ("gender",), "limit": 2, **changes.pop("question", {})})
    effort = Effort(**{"images_per_prompt": 6, "seed": 1, **changes.pop("effort", {})})
    endpoint = EndpointOptions(**{"model": "gpt-image", **changes.pop("endpoint", {})})
    return AuditConfig(source=url, question=question, effort=effort, endpoint=endpoint, out=out, **changes)


def rates(done: Audit, metric: str) -> dict[str | None, tuple[float | None, int, int]]:
    found = [one for one in done.estimates if one.metric == metric and one.class_name in (None, "female")]
    return {one.prompt: (one.value, one.n, one.abstained) for one in found if one.scope == "these"}


def test_an_audit_of_an_endpoint_has_the_estimates_of_any_other(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    image = ImageOptions(size=(64, 64), steps=9, negative_prompt="blood")
    done = audit(config(url, tmp_path / "run", image=image, endpoint={"seeds": True}))
    assert {one.metric for one in done.estimates} >= {"share", "deviation", "deviation_ratio", "recognised"}
    assert (done.result["model"], done.result["source"]) == ("gpt-image", url)
    assert len(fake.bodies) == done.result["costs"][0]["images"] == 12
    body = fake.bodies[0]
    assert {key: body[key] for key in ("model", "n", "size")} == {"model": "gpt-image", "n": 1, "size": "64x64"}
    assert (body["num_inference_steps"], body["negative_prompt"]) == (9, "blood")
    assert len({one["seed"] for one in fake.bodies}) == 12
    # the images are those of the seeds, so they were stored under the requests that they belong to
    again = audit(config(url, tmp_path / "again", image=image, endpoint={"seeds": True, "concurrency": 1}))
    assert rates(done, "share") == rates(again, "share")
    assert "gpt-image" in write_report(done.run).read_text("utf-8")


def test_images_may_also_be_pointed_to_and_the_key_is_not_sent_there(
    tmp_path: Path, url: str, fake: FakeEndpoint
) -> None:
    fake.by_url = True
    done = audit(config(url, tmp_path / "run"))
    assert rates(done, "share")[None][1] == 12
    assert fake.keys.count(f"Bearer {KEY}") == 12
    assert fake.keys.count(None) == 12


def test_a_picture_that_is_pointed_to_is_fetched_as_patiently_as_it_was_asked_for(
    tmp_path: Path, url: str, fake: FakeEndpoint
) -> None:
    fake.by_url = True
    passing: list[tuple[int, bytes, dict[str, str]]] = [(0, b"", {}), (503, b"", {}), (429, b"", {"Retry-After": "0"})]
    fake.pictures = lambda number: passing[number] if number < 3 else None
    done = audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}))
    assert rates(done, "share")[None][1] == 12
    assert (len(fake.bodies), fake.fetched) == (12, 15)


@pytest.mark.parametrize(("status", "tries", "said"), [(500, 8, "HTTP 500"), (404, 1, "HTTP 404"), (0, 8, "Protocol")])
def test_a_picture_that_cannot_be_had_is_one_line_and_is_paid(
    tmp_path: Path, url: str, fake: FakeEndpoint, status: int, tries: int, said: str
) -> None:
    fake.by_url = True
    fake.pictures = lambda number: (status, b"", {}) if number >= 2 else None
    ask = {"concurrency": 1, "image_price": 0.05}
    with pytest.raises(
        EndpointError, match=rf"points to a picture that cannot be had \(.*{said}.*\); what is"
    ) as caught:
        audit(config(url, tmp_path / "run", endpoint={**ask, "max_cost": 0.6}))
    assert "\n" not in str(caught.value)
    assert fake.fetched >= 2 + tries
    fake.pictures = lambda number: None
    before = len(fake.bodies)
    # what was made and lost was paid: the run that may cost 0.60 cannot have all twelve any more
    with pytest.raises(EndpointError, match=r"--max-cost 0\.6 is reached"):
        audit(config(url, tmp_path / "run", endpoint={**ask, "max_cost": 0.6}))
    assert before + 9 >= len(fake.bodies)
    done = audit(config(url, tmp_path / "run", endpoint={**ask, "max_cost": 9}))
    assert done.result["spent"]["amount"] == pytest.approx(0.05 * len(fake.bodies), abs=0.051)


def test_a_damaged_picture_was_paid_all_the_same(tmp_path: Path, url: str) -> None:
    ask = {"endpoint": {"image_price": 0.05}}
    audit(config(url, tmp_path / "run", **ask))
    line = ledgers.lines(tmp_path / "run")[0]
    (tmp_path / "run" / line["file"]).unlink()
    # one picture of equal bytes is one file: those that show it are made again
    lost = sum(one["sha256"] == line["sha256"] for one in ledgers.lines(tmp_path / "run"))
    done = audit(config(url, tmp_path / "run", **ask))
    assert done.result["spent"]["amount"] == pytest.approx(0.05 * (12 + lost))


def test_a_cost_of_null_is_none(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    fake.usage = {"cost": None}
    done = audit(config(url, tmp_path / "run", endpoint={"image_price": 0.05}))
    assert done.result["spent"]["amount"] == pytest.approx(0.6)


def test_requests_run_side_by_side_and_never_more_than_allowed(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    fake.delay = 0.03
    audit(config(url, tmp_path / "run", endpoint={"concurrency": 3}))
    assert fake.most_at_once == 3


def test_a_refusal_is_counted_as_one_and_shows_nothing(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    names = prepare(config(url)).series[0].rows
    fake.script = lambda number, body: refusal() if names[0] in body["prompt"] and number % 2 else None
    done = audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}))
    # of six requests of the first row every second one is refused: none of them is tried again
    assert len(fake.bodies) == 12
    assert rates(done, "refusal_rate")[names[0]] == (0.5, 6, 0)
    assert rates(done, "refusal_rate")[names[1]] == (0.0, 6, 0)
    assert rates(done, "refusal_rate")[None] == (0.25, 12, 0)
    assert rates(done, "share")[names[0]][1:] == (3, 3)
    assert (done.result["refused"], done.result["invalid"]) == (3, 0)
    page = write_report(done.run).read_text("utf-8")
    assert "The endpoint refused 3 of 12 requests" in page
    assert "not counted: refused by the endpoint" in page
    assert "The model gave no valid picture" not in page


def test_a_refusal_stays_one_when_the_run_is_judged_later(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    fake.script = lambda number, body: refusal("content_policy_violation") if number == 0 else None
    first = audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}))
    ledgers.forget_verdicts(tmp_path / "run")
    second = audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}))
    assert second.result["estimates"] == first.result["estimates"]
    assert rates(second, "refusal_rate")[None][0] == pytest.approx(1 / 12)
    assert len(fake.bodies) == 12  # nothing is asked for twice


def test_what_passes_is_tried_again(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    passing = [(500, {}, {}), (503, b"<html>", {}), (429, {"error": {"message": "slow down"}}, {})]
    fake.script = lambda number, body: passing[number] if number < 3 else None
    done = audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}))
    assert len(fake.bodies) == 15
    assert rates(done, "share")[None][1] == 12


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_it_waits_as_long_as_it_is_asked_to(tmp_path: Path, url: str, fake: FakeEndpoint, form: str) -> None:
    # a date has whole seconds: two of them are one at the least
    asked = "0.4" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
    fake.script = lambda number, body: (429, {}, {"Retry-After": asked}) if number == 0 else None
    audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}, effort={"images_per_prompt": 1}))
    assert fake.times[1] - fake.times[0] >= (0.4 if form == "seconds" else 0.9)


def test_it_does_not_wait_forever(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    fake.script = lambda number, body: (429, {}, {"Retry-After": "86400"}) if number == 7 else None
    with pytest.raises(EndpointError, match="asks to wait 86400 seconds; what is done stays"):
        audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}))
    assert len(ledgers.lines(tmp_path / "run")) == 7
    fake.script = lambda number, body: None
    before = len(fake.bodies)
    assert rates(audit(config(url, tmp_path / "run", endpoint={"concurrency": 1})), "share")[None][1] == 12
    assert len(fake.bodies) - before == 5


def test_what_never_passes_ends_in_one_line(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    fake.script = lambda number, body: (503, {"error": {"message": "overloaded"}}, {})
    with pytest.raises(EndpointError, match=r"failed 8 times \(HTTP 503, overloaded\).*run the same command again"):
        audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}, effort={"images_per_prompt": 1}))
    assert len(fake.bodies) == 8


@pytest.mark.parametrize(
    ("status", "error", "kind", "said"),
    [
        (401, {"message": f"Incorrect API key provided: {KEY}"}, InputError, "does not take the key in OPENAI_API_KEY"),
        (404, {"message": "no such model"}, InputError, "HTTP 404, no such model"),
        (400, {"message": f"unknown parameter, said {KEY}"}, InputError, r"unknown parameter, said \*\*\*"),
        (429, {"message": "pay", "code": "insufficient_quota"}, EndpointError, "quota is used up"),
    ],
)
def test_what_will_never_pass_is_not_tried_again(
    tmp_path: Path, url: str, fake: FakeEndpoint, status: int, error: Any, kind: type[EvenhandError], said: str
) -> None:
    fake.script = lambda number, body: (status, {"error": error}, {})
    with pytest.raises(kind, match=said) as caught:
        audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}))
    sent = [body["prompt"] for body in fake.bodies]
    # the next request may already be on its way when the first is given up
    assert len(sent) == len(set(sent)) <= 2
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {"data": []}, {}), "no list of images"),
        ((200, b"<html>", {}), "no list of images"),
        ((200, {"data": [{"b64_json": "***"}]}, {}), "no list of images"),
        ((307, {}, {"Location": "https://other.example/v1?token=abc"}), "points to https://other.example/v1: give"),
    ],
)
def test_an_answer_that_is_none_is_said_to_be_so(
    tmp_path: Path, url: str, fake: FakeEndpoint, answer: Any, said: str
) -> None:
    fake.script = lambda number, body: answer
    with pytest.raises(EvenhandError, match=said) as caught:
        audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}))
    assert "abc" not in str(caught.value)


def test_a_picture_that_is_none_is_an_abstention(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    fake.script = lambda number, body: (200, {"data": [{"b64_json": "AAAA"}]}, {}) if number == 0 else None
    done = audit(config(url, tmp_path / "run", endpoint={"concurrency": 1}))
    assert (done.result["invalid"], done.result["refused"]) == (1, 0)
    assert rates(done, "share")[None][1:] == (11, 1)


def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="failed 8 times"):
        audit(config("http://127.0.0.1:9/v1", tmp_path / "run", endpoint={"concurrency": 1}))


def test_the_key_is_on_no_disk_and_no_stranger_sees_it(
    tmp_path: Path, url: str, fake: FakeEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        done = audit(config(url, tmp_path / "run"))
        write_report(done.run)
    assert set(fake.keys) == {f"Bearer {KEY}"}
    assert KEY not in caplog.text
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 12
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_without_a_key_none_is_sent(tmp_path: Path, url: str, fake: FakeEndpoint, monkeypatch: Any) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    audit(config(url, tmp_path / "run"))
    assert set(fake.keys) == {None}


def test_what_would_cost_more_than_it_may_is_not_begun(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    priced = {"max_cost": 0.5, "image_price": 0.05}
    with pytest.raises(InputError, match=r"--max-cost 0.5: 12 images at 0.05 cost 0.60; raise it"):
        audit(config(url, tmp_path / "run", endpoint=priced))
    with pytest.raises(InputError, match=r"12 images at 0.25 \(assumed; say what it is with --image-price\) cost 3.00"):
        audit(config(url, tmp_path / "run", endpoint={"max_cost": 0.5}))
    assert fake.bodies == []
    assert not (tmp_path / "run").exists()
    done = audit(config(url, tmp_path / "run", endpoint={"max_cost": 0.6, "image_price": 0.05}))
    assert done.result["spent"] == {"amount": 0.6, "image_price": 0.05, "assumed": False}


def test_what_the_endpoint_says_that_it_costs_counts_over_all_sessions(
    tmp_path: Path, url: str, fake: FakeEndpoint
) -> None:
    fake.usage = {"cost": 0.2}  # four times what was announced
    ask = {"concurrency": 1, "image_price": 0.05}
    with pytest.raises(EndpointError, match=r"--max-cost 0.6 is reached \(0.60 spent\); what is done stays"):
        audit(config(url, tmp_path / "run", endpoint={**ask, "max_cost": 0.6}))
    assert len(fake.bodies) <= 4
    with pytest.raises(EndpointError, match="is reached"):
        audit(config(url, tmp_path / "run", endpoint={**ask, "max_cost": 0.6}))
    done = audit(config(url, tmp_path / "run", endpoint={**ask, "max_cost": 9}))
    assert len(fake.bodies) == 12
    assert done.result["spent"]["amount"] == pytest.approx(2.4)


def test_refusals_cost_nothing_unless_it_is_said(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    fake.script = lambda number, body: refusal()
    done = audit(config(url, tmp_path / "run", endpoint={"image_price": 0.05}))
    assert done.result["spent"]["amount"] == 0
    assert rates(done, "share")[None] == (None, 0, 12)


def test_a_rewritten_prompt_is_kept(tmp_path: Path, url: str, fake: FakeEndpoint) -> None:
    def rewritten(number: int, body: Any) -> Any:
        answer = fake._image(body)
        answer["data"][0]["revised_prompt"] = "a woman"
        return 200, answer, {}

    fake.script = rewritten
    audit(config(url, tmp_path / "run", effort={"images_per_prompt": 1}))
    lines = ledgers.lines(tmp_path / "run")
    assert {line["evidence"]["revised_prompt"] for line in lines} == {"a woman"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"endpoint": {"model": None}}, "give the name of the model there, --endpoint-model NAME"),
        ({"interventions": ("sega:text=x",)}, "--with is for models that are loaded here"),
        ({"model": ModelOptions(device="cpu")}, "--device is for models that are loaded here"),
        ({"image": ImageOptions(scheduler="ddim")}, "--scheduler is for models"),
    ],
)
def test_what_an_endpoint_has_no_place_for_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        prepare(config("https://api.example/v1", **changes))


@pytest.mark.parametrize("url", ["https://me:secret@api.example/v1", "https://api.example/v1?key=secret", "https://"])
def test_a_url_that_holds_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InputError) as caught:
        prepare(config(url))
    assert "secret" not in str(caught.value)


def test_urls_are_told_apart_by_what_they_are() -> None:
    assert base_url("https://api.example/v1/images/generations") == base_url("https://api.example/v1/")
    with pytest.raises(InputError, match="nothing can be attached to an endpoint"):
        prepare_compare(config("https://api.example/v1"))


def test_a_dry_run_says_the_cost() -> None:
    lines = describe(prepare(config("https://api.example/v1", endpoint={"image_price": 0.04})))
    assert "cost: 12 images x 0.04 = 0.48" in lines


def test_amounts_are_amounts() -> None:
    with pytest.raises(InputError, match="--max-cost -1"):
        EndpointOptions(max_cost=-1)
    with pytest.raises(InputError, match="--concurrency 0"):
        EndpointOptions(concurrency=0)
