"""Rules as text, and the command's mistakes."""

from __future__ import annotations

import pytest

from sidecar.interception.rules import Interception, ruleset
from tests.support.commands import sidecar


def test_without_a_mesh_only_what_comes_from_outside_is_led() -> None:
    rules = ruleset(Interception(8080, 15100, 15101, (15102,)))
    assert "hook output" not in rules
    assert rules.index('iifname "lo" return') < rules.index("dport 8080 redirect to :15100")
    assert "dport 15101 redirect to :8080" in rules
    assert "15102" not in rules


def test_behind_a_mesh_only_its_proxy_is_led() -> None:
    rules = ruleset(Interception(8080, 15100, 15101, (15102,), 1337))
    incoming, outgoing = rules.split("chain output")
    assert "dport 8080 redirect" not in incoming
    assert "dport 15102 redirect to :15102" in incoming
    assert "meta skuid 1337 fib daddr type local tcp dport 8080 redirect to :15100" in outgoing
    assert "\tfib daddr type local tcp dport 15101 redirect to :8080" in outgoing


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((8080, 8080), "two ports are the same"),
        ((8080, 15100, 8080), "two ports are the same"),
        ((0, 15100), "from 1 to 65535"),
        ((8080, 15100, None, (), 0), "not root's"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Interception(*arguments)  # type: ignore[arg-type]


def test_the_command_prints_rules_and_says_its_mistakes_in_one_line() -> None:
    done = sidecar("intercept", "--port", "8080", "--to", "15100", "--print")
    assert done.code == 0
    assert done.out == ruleset(Interception(8080, 15100))
    wrong = sidecar("intercept", "--port", "8080", "--to", "15100", "--mesh", "istio")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "--mesh-uid" in wrong.err
