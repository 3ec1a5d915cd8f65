"""Access checks of request heads, and rate limits by a fake clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsr.app.security.admission import AccessPolicy, is_own_host, is_own_origin, visitor_address
from archsr.app.security.rate_limits import LoginAttempts, UploadSlots, seconds_allowed

LOCAL, STUDIO = AccessPolicy(), AccessPolicy("192.168.1.5", ("Studio.example",))
ALL_ADDRESSES = AccessPolicy("0.0.0.0")


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("host", "policy", "allowed"),
    [
        ("127.0.0.1:7860", LOCAL, True),
        ("localhost", LOCAL, True),
        ("LOCALHOST.:7860", LOCAL, True),
        ("[::1]:7860", LOCAL, True),
        ("evil.example:7860", LOCAL, False),
        ("127.0.0.1.evil.example", LOCAL, False),
        ("localhost.evil.example", LOCAL, False),
        ("evil.example#@localhost", LOCAL, False),
        ("localhost@evil.example", LOCAL, False),
        ("192.168.1.5", LOCAL, False),
        ("", LOCAL, False),
        ("[::1", LOCAL, False),
        ("192.168.1.5:7860", STUDIO, True),
        ("localhost", STUDIO, True),
        ("studio.example", STUDIO, True),
        ("evil.example", STUDIO, False),
        ("192.168.1.6", STUDIO, False),
        ("10.0.0.7:7860", ALL_ADDRESSES, True),
        ("[fe80::1]:7860", AccessPolicy("::"), True),
        ("evil.example", ALL_ADDRESSES, False),
    ],
)
def test_a_request_names_this_server(host, policy, allowed):
    assert is_own_host([host], policy) == allowed


def test_one_host_is_named():
    assert not is_own_host([], LOCAL)
    assert not is_own_host(["localhost", "evil.example"], LOCAL)


LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "allowed"),
    [
        ("POST", "/x", {}, True),  # a program
        ("POST", "/x", {"origin": "http://localhost:7860"}, True),
        ("POST", "/x", {"origin": "https://localhost:7860", "sec-fetch-site": "same-origin"}, True),  # behind a proxy
        ("POST", "/x", {"origin": "https://studio.example"}, True),
        ("POST", "/x", {"origin": "http://localhost:8000"}, False),
        ("POST", "/x", {"origin": "http://evil.example"}, False),
        ("POST", "/x", {"origin": "null"}, False),
        ("POST", "/x", {"origin": "http://["}, False),
        ("POST", "/x", {"sec-fetch-site": "cross-site"}, False),
        ("POST", "/", LINK, False),
        ("GET", "/x", {"sec-fetch-site": "same-site"}, False),
        ("GET", "/x", {"sec-fetch-site": "none"}, True),  # typed in
        ("GET", "/", LINK, True),  # a link
        ("GET", "/x", LINK, False),
        ("GET", "/", {**LINK, "sec-fetch-dest": "iframe"}, False),
    ],
)
def test_a_request_comes_from_the_page(method, path, headers, allowed):
    policy = AccessPolicy(names=("studio.example",))
    assert is_own_origin(method, path, {"host": "localhost:7860", **headers}, policy) == allowed


def test_an_ipv6_network_is_one_visitor():
    assert (
        visitor_address(("2001:db8::1", 5))
        == visitor_address(("2001:db8::ffff:2", 6))
        != visitor_address(("2001:db8:0:1::1", 5))
    )
    assert visitor_address(("10.0.0.1", 5)) == "10.0.0.1" != visitor_address(("10.0.0.2", 5))
    assert visitor_address(None) == ""


# ---------------------------------------------------------------- time


def test_wrong_passwords_wait_longer_and_longer():
    clock = Clock()
    attempts = LoginAttempts(clock)
    waits = []
    for _ in range(16):
        waits.append(attempts.delay("a"))
        clock.now += waits[-1]
        attempts.record("a")
    assert waits == [0] * 5 + [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert attempts.delay("b") == 0, "another visitor does not wait"
    clock.now += 3600
    assert attempts.delay("a") == 0, "forgotten after an hour"


def test_a_right_password_is_no_wrong_one():
    clock = Clock()
    attempts = LoginAttempts(clock)
    for _ in range(100):
        assert attempts.delay("a") == 0
        attempts.record("a")
        attempts.succeeded("a")


def test_many_visitors_together_have_sixty_attempts_a_minute():
    clock = Clock()
    attempts = LoginAttempts(clock)
    for number in range(60):
        assert attempts.delay(f"v{number}") == 0
        attempts.record(f"v{number}")
    assert attempts.delay("another") == 60
    clock.now += 60
    assert attempts.delay("another") == 0


def test_uploads_at_once_are_counted():
    slots = UploadSlots(3, 2)
    assert [slots.acquire(v) for v in ("a", "a", "a", "b", "b")] == [True, True, False, True, False]
    assert slots.acquire("c"), "who has none is let in however many others have"
    for _ in range(2):
        slots.release("a")
    assert [slots.acquire(v) for v in ("c", "b")] == [True, False]


@given(st.integers(0, 2**33), st.floats(0, 1e4))
def test_patience_grows_with_what_came_and_ends(count, waited):
    left = seconds_allowed(count, waited, total=3600)
    assert left <= 3600 - waited
    assert seconds_allowed(count + 2**14, waited, total=3600) in (pytest.approx(left + 1), pytest.approx(3600 - waited))


def test_a_body_has_half_a_minute_and_then_sixteen_kilobytes_a_second():
    assert seconds_allowed(0, 0, total=3600) == 30
    assert seconds_allowed(0, 30, total=3600) == 0
    assert seconds_allowed(2**20, 90, total=3600) == 4
    assert seconds_allowed(2**40, 3599, total=3600) == 1
