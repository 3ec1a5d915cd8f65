"""Who may come in and how long they are waited for, as functions of what they say and of a clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsr.app.security.admission import Door, is_addressed, is_from_the_page, visitor
from archsr.app.security.rate_limits import Attempts, UploadSlots, patience

HERE, STUDIO = Door(), Door("192.168.1.5", ("Studio.example",))
EVERYWHERE = Door("0.0.0.0")


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("host", "door", "welcome"),
    [
        ("127.0.0.1:7860", HERE, True),
        ("localhost", HERE, True),
        ("LOCALHOST.:7860", HERE, True),
        ("[::1]:7860", HERE, True),
        ("evil.example:7860", HERE, False),
        ("127.0.0.1.evil.example", HERE, False),
        ("localhost.evil.example", HERE, False),
        ("evil.example#@localhost", HERE, False),
        ("localhost@evil.example", HERE, False),
        ("192.168.1.5", HERE, False),
        ("", HERE, False),
        ("[::1", HERE, False),
        ("192.168.1.5:7860", STUDIO, True),
        ("localhost", STUDIO, True),
        ("studio.example", STUDIO, True),
        ("evil.example", STUDIO, False),
        ("192.168.1.6", STUDIO, False),
        ("10.0.0.7:7860", EVERYWHERE, True),
        ("[fe80::1]:7860", Door("::"), True),
        ("evil.example", EVERYWHERE, False),
    ],
)
def test_a_request_names_this_server(host, door, welcome):
    assert is_addressed([host], door) == welcome


def test_one_host_is_named():
    assert not is_addressed([], HERE)
    assert not is_addressed(["localhost", "evil.example"], HERE)


LED = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "welcome"),
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
        ("POST", "/", LED, False),
        ("GET", "/x", {"sec-fetch-site": "same-site"}, False),
        ("GET", "/x", {"sec-fetch-site": "none"}, True),  # typed in
        ("GET", "/", LED, True),  # a link
        ("GET", "/x", LED, False),
        ("GET", "/", {**LED, "sec-fetch-dest": "iframe"}, False),
    ],
)
def test_a_request_comes_from_the_page(method, path, headers, welcome):
    door = Door(names=("studio.example",))
    assert is_from_the_page(method, path, {"host": "localhost:7860", **headers}, door) == welcome


def test_an_ipv6_network_is_one_visitor():
    assert visitor(("2001:db8::1", 5)) == visitor(("2001:db8::ffff:2", 6)) != visitor(("2001:db8:0:1::1", 5))
    assert visitor(("10.0.0.1", 5)) == "10.0.0.1" != visitor(("10.0.0.2", 5))
    assert visitor(None) == ""


# ---------------------------------------------------------------- time


def test_wrong_passwords_wait_longer_and_longer():
    clock = Clock()
    attempts = Attempts(clock)
    waits = []
    for _ in range(16):
        waits.append(attempts.wait("a"))
        clock.now += waits[-1]
        attempts.tries("a")
    assert waits == [0] * 5 + [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert attempts.wait("b") == 0, "another visitor does not wait"
    clock.now += 3600
    assert attempts.wait("a") == 0, "forgotten after an hour"


def test_a_right_password_is_no_wrong_one():
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(100):
        assert attempts.wait("a") == 0
        attempts.tries("a")
        attempts.knew("a")


def test_many_visitors_together_have_sixty_attempts_a_minute():
    clock = Clock()
    attempts = Attempts(clock)
    for number in range(60):
        assert attempts.wait(f"v{number}") == 0
        attempts.tries(f"v{number}")
    assert attempts.wait("another") == 60
    clock.now += 60
    assert attempts.wait("another") == 0


def test_uploads_at_once_are_counted():
    slots = UploadSlots(3, 2)
    assert [slots.enter(v) for v in ("a", "a", "a", "b", "b")] == [True, True, False, True, False]
    assert slots.enter("c"), "who has none is let in however many others have"
    for _ in range(2):
        slots.leave("a")
    assert [slots.enter(v) for v in ("c", "b")] == [True, False]


@given(st.integers(0, 2**33), st.floats(0, 1e4))
def test_patience_grows_with_what_came_and_ends(count, waited):
    left = patience(count, waited, total=3600)
    assert left <= 3600 - waited
    assert patience(count + 2**14, waited, total=3600) in (pytest.approx(left + 1), pytest.approx(3600 - waited))


def test_a_body_has_half_a_minute_and_then_sixteen_kilobytes_a_second():
    assert patience(0, 0, total=3600) == 30
    assert patience(0, 30, total=3600) == 0
    assert patience(2**20, 90, total=3600) == 4
    assert patience(2**40, 3599, total=3600) == 1
