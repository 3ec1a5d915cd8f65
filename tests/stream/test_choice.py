"""Tags choose training samples: exactly the requested ones, rare ones repeated up to their share, none lost."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsr.config import TagChoice
from archsr.data.stream.choice import choose
from archsr.data.stream.plan import Plan
from archsr.errors import UserError

TAGS = ("interior", "exterior", "style=gothic", "style=modern")
tagged = st.lists(st.sets(st.sampled_from(TAGS)).map(lambda t: tuple(sorted(t))), max_size=30)
shards = st.lists(tagged, min_size=1, max_size=5)


def chosen(shards, config):
    return Counter((s, int(i)) for s, picks in enumerate(choose(shards, config).picks) for i in picks)


@given(shards)
def test_only_and_without_take_exactly_what_they_say(shards):
    config = TagChoice(only=("interior", "style=*"), without=("style=gothic",))
    known = {t for shard in shards for tags in shard for t in tags}
    expected = {
        (s, i): 1
        for s, shard in enumerate(shards)
        for i, tags in enumerate(shard)
        if {"interior", "style=gothic", "style=modern"} & set(tags) and "style=gothic" not in tags
    }
    if {"interior", "style=gothic"} <= known and expected:
        assert chosen(shards, config) == expected
    else:
        with pytest.raises(UserError, match=r"data\.tags"):
            choose(shards, config)


@given(shards, st.floats(0.2, 5))
def test_balance_repeats_the_rare_and_loses_none(shards, share):
    flat = [tags for shard in shards for tags in shard]
    first = sum("interior" in tags for tags in flat)
    second = sum("exterior" in tags and "interior" not in tags for tags in flat)
    if not first or not second:
        return
    found = chosen(shards, TagChoice(balance={"interior": share, "exterior": 1.0}))
    assert len(found) == len(flat), "every sample is seen"
    seen = Counter()
    for (s, i), times in found.items():
        tags = shards[s][i]
        seen["interior" if "interior" in tags else "exterior" if "exterior" in tags else "rest"] += times
    assert seen["rest"] == len(flat) - first - second
    assert abs(seen["interior"] - share * seen["exterior"]) <= max(1, share)
    assert min(seen["interior"] - first, seen["exterior"] - second) == 0, "and not more often than needed"


@given(st.integers(1, 5))
def test_repetitions_are_spread_evenly(count):
    shards = [[("a",)] * 7 + [("b",)] * 17] * count
    times = Counter(n for (_, i), n in chosen(shards, TagChoice(balance={"a": 1, "b": 1})).items() if i < 7)
    assert set(times) == {2, 3}
    assert times[2] * 2 + times[3] * 3 == 17 * count


def test_an_epoch_over_a_choice_holds_it_exactly():
    shards = [[("a",), ("b",), ("a",)], [("a",)], [("a",), ("b",), ("a",)]]
    picks = choose(shards, TagChoice(only=("b",), balance={"b": 2})).picks
    plan = Plan(tuple(len(p) for p in picks), 3, 2)
    places = [plan.place(i) for i in range(plan.total)]
    assert sorted((p.shard, int(picks[p.shard][p.index])) for p in places) == [(0, 1), (2, 1)]


def test_unknown_tags_are_named_with_near_ones():
    with pytest.raises(UserError, match=r"data\.tags\.only.*'interiors'.*did you mean 'interior'"):
        choose([[("interior",), ("exterior",)]], TagChoice(only=("interiors",)))
    with pytest.raises(UserError, match="no training sample remains"):
        choose([[("interior",)]], TagChoice(without=("interior",)))
    assert choose([[("interior",)]], TagChoice()).picks == (np.array([0]),)
