from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.privacy.rules import (
    DEFAULT_RULES,
    MAX_RULE_CHARACTERS,
    Action,
    Target,
    parse_mapping,
    parse_rule,
    split_lines,
)


@pytest.mark.parametrize(
    ("text", "target", "selector", "sides", "action"),
    [
        ("request.body:$.applicant.name=mask", Target.BODY, "$.applicant.name", (True, False), Action.MASK),
        ("response.body:$..ssn=drop", Target.BODY, "$..ssn", (False, True), Action.DROP),
        ("body:$.a[?@.b=='x=mask']=hash", Target.BODY, "$.a[?@.b=='x=mask']", (True, True), Action.HASH),
        ("header:X-Customer=hash", Target.HEADER, "x-customer", (True, True), Action.HASH),
        ("response.header:x-user=mask", Target.HEADER, "x-user", (False, True), Action.MASK),
        ("query:email=drop", Target.QUERY, "email", (True, False), Action.DROP),
        (r"regex:\b\d{3}-\d{2}-\d{4}\b=mask", Target.REGEX, r"\b\d{3}-\d{2}-\d{4}\b", (True, True), Action.MASK),
        ("request.regex:a=b=drop", Target.REGEX, "a=b", (True, False), Action.DROP),
        ("client=hash", Target.CLIENT, "", (True, False), Action.HASH),
        ("header:x-customer = hash", Target.HEADER, "x-customer", (True, True), Action.HASH),
    ],
)  # fmt: skip
def test_a_rule_is_read_from_one_line(
    text: str, target: Target, selector: str, sides: tuple[bool, bool], action: Action
) -> None:
    rule = parse_rule(text)
    assert (rule.where.target, rule.where.selector, rule.action) == (target, selector, action)
    assert (rule.where.request, rule.where.response) == sides


def test_a_rules_text_is_itself_a_rule_that_means_the_same() -> None:
    for text in ("body:$.a=mask", "request.header:X-A=drop", "query:k=hash", "response.regex:a+=mask"):
        rule = parse_rule(text)
        again = parse_rule(rule.text)
        assert (again.text, again.action, again.where.selector) == (
            rule.text,
            rule.action,
            rule.where.selector,
        )
    for default in DEFAULT_RULES:
        assert parse_rule(default.text).text == default.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no redaction rule"),
        ("mask", "is no redaction rule"),
        ("=mask", "is no redaction rule"),
        ("header:x-a", "is no redaction rule"),
        ("header:x-a=delete", "does not end in =drop, =mask or =hash"),
        ("headers:x-a=drop", "does not begin with one of"),
        ("request.client=drop", "does not begin with one of"),
        ("client:10.0.0.1=drop", "and is not client"),
        ("upstream.header:x-a=drop", "does not begin with one of"),
        (".header:x-a=drop", "does not begin with one of"),
        ("header:=drop", "needs 1 to"),
        ("header:x a=drop", "no valid header name"),
        ("header:x:a=drop", "no valid header name"),
        ("request.query:a=drop", "only requests have a query"),
        ("body:applicant.name=mask", "no valid JSONPath"),
        ("body:$.a[=mask", "no valid JSONPath"),
        ("body:$.a | $.b=mask", "no valid JSONPath"),
        ("body:$.~a=mask", "no valid JSONPath"),
        ("body:$.a[?@..b]=mask", "a filter that searches"),
        ("body:$.a[?@.b == 1 && (count($..*) > 2 || !@.c[?@..d])]=mask", "a filter that searches"),
        ("body:$.a[?@.b[?@.c[?length(value(@..d)) > 1]]]=mask", "a filter that searches"),
        ("regex:(=mask", "no valid regular expression"),
        ("regex:a*=mask", "matches the empty text"),
        ("regex:" + "a" * MAX_RULE_CHARACTERS + "=mask", "has more than"),
    ],
)
def test_a_wrong_rule_is_refused_in_words_that_follow_it(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_rule(text)
    message = str(raised.value)
    assert reason in message
    assert message.startswith(("is ", "has ", "does ", "needs ", "matches "))
    assert "\n" not in message


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_a_value_error(text: str) -> None:
    for form in (text, f"body:{text}=mask", f"regex:{text}=drop", f"header:{text}=hash"):
        try:
            parse_rule(form)
        except ValueError as error:
            assert str(error)


def test_several_rules_in_one_text_stand_on_lines() -> None:
    assert split_lines("\n query:a=drop \n\nregex:a,b;c:d=mask\n") == ["query:a=drop", "regex:a,b;c:d=mask"]


def test_a_mapping_is_the_same_rule() -> None:
    rule = parse_mapping({"where": "request.body:$.applicant.name", "action": "mask"})
    assert rule.text == "request.body:$.applicant.name=mask"


@pytest.mark.parametrize(
    "mapping", [{}, {"where": "query:a"}, {"where": "query:a", "action": "drop", "x": "y"}]
)
def test_a_mapping_with_other_keys_is_refused(mapping: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="where and action"):
        parse_mapping(mapping)


def test_rules_load_the_jsonpath_library_only_when_one_needs_it() -> None:
    """Settings are read in processes whose memory counts."""
    script = (
        "import sys; from sidecar.privacy.redact import Redactor; from sidecar.privacy.rules import parse_rule; "
        "parse_rule('header:a=drop'); assert 'jsonpath' not in sys.modules and 'cryptography' not in sys.modules; "
        "assert 'regex' not in sys.modules; "
        "parse_rule('body:$.a=drop'); assert 'jsonpath' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
