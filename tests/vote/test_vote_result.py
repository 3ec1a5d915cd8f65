"""The result of votes, compared with values worked out by hand."""

import json
from itertools import product

import numpy as np
import pytest
from asking import folder_of, study_of

from archsr.evaluation.people import PeopleVerdict
from archsr.evaluation.statistics.bootstrap import pooled
from archsr.vote import votes as vt
from archsr.vote.main import report_result
from archsr.vote.result import markdown, result_of
from archsr.vote.votes import Vote


def votes_of(study, **values):
    """Return votes of each voter on the first images: 1 for B, −1 for A, 0 for neither, with the shown sides."""
    found = []
    for voter, own in values.items():
        for one, value in zip(study.images, own, strict=False):
            left = study.left(voter, one.number)
            better = {1: "B", -1: "A"}.get(value)
            choice = "none" if better is None else "left" if better == left else "right"
            found.append(Vote(voter, one.key, one.scene, left, choice, 2.0, "2026-01-01T00:00:00+00:00"))
    return vt.Votes(tuple(found))


@pytest.mark.parametrize(("left", "choice", "value"), [
    ("A", "left", -1), ("A", "right", 1), ("B", "left", 1), ("B", "right", -1), ("A", "none", 0), ("B", "none", 0),
])  # fmt: skip
def test_what_a_choice_means(left, choice, value):
    assert Vote("Anna", "k", "s", left, choice, 1.0, "").value == value


def test_shares_counts_and_agreement_by_hand():
    study = study_of(scenes=3, each=2)
    found = result_of(study, votes_of(study, Anna=[1, 1, 0, -1, 1, 1], Ben=[1, -1, 0, 1]))
    assert found.asked.share == pytest.approx((6 + 2 * 0.5) / 10)  # six for B, two ties, two for A
    assert (found.asked.votes, found.asked.voters, found.asked.images, found.asked.scenes) == (10, 2, 6, 3)
    assert (found.asked.low, found.asked.high) == (None, None)
    assert "Fewer than 6 scenes give no interval" in found.sentence
    anna, ben = found.voters
    assert (anna.voter, anna.for_a, anna.for_b, anna.ties, anna.seconds) == ("Anna", 1, 4, 1, 2.0)
    assert (ben.voter, ben.for_a, ben.for_b, ben.ties) == ("Ben", 1, 2, 1)
    # the first four images have both: 1 1, 1 -1, 0 0, -1 1
    assert (found.agreement.compared, found.agreement.same) == (4, 2)
    assert found.agreement.by_chance == pytest.approx(0.6**2 + 0.2**2 + 0.2**2)


def test_the_interval_is_of_scenes_and_voters():
    study = study_of(scenes=8, each=2)
    likes = [int(v) for v in np.random.default_rng(0).choice([1, 0], 16)]
    one = result_of(study, votes_of(study, Anna=likes)).asked
    twice = result_of(study, votes_of(study, Anna=likes, Ben=likes)).asked
    assert (twice.low, twice.high) == (one.low, one.high), "a voter who says the same adds nothing, and takes nothing"
    apart = result_of(study, votes_of(study, Anna=likes, Ben=[v - 1 for v in likes])).asked
    assert apart.share == pytest.approx(one.share - 0.25)
    assert apart.high - apart.low > 1.3 * (one.high - one.low), "the same scenes, voters who differ: wider"


def test_the_interval_is_that_of_every_resample():
    """Six scenes with one image, two voters: all 6⁶ · 2² resamples, weighted by hand."""
    study = study_of(scenes=6, each=1)
    judged = np.array([[1, 1, 1, 0, 1, -1], [1, 0, -1, 0, 1, -1]], float)
    found = pooled([{one.scene: [v] for one, v in zip(study.images, own, strict=True)} for own in judged])
    scenes = np.array(list(product(range(6), repeat=6)))
    means = judged.mean(0)[scenes].mean(1)
    deviation = (judged.mean(1) - judged.mean()) * np.sqrt(2)
    every = np.concatenate([means + deviation[list(pair)].mean() for pair in product(range(2), repeat=2)])
    # Hesterberg's percentiles for six scenes: the normal distribution's of √(6/5)·t(0.975, 5)
    low, high = np.percentile(every, [0.2431, 100 - 0.2431])
    assert found.low == pytest.approx(low, abs=0.05)
    assert found.high == pytest.approx(high, abs=0.05)


def test_voters_count_by_their_votes():
    by_voter = [{f"s{n}": [1.0] for n in range(9)}, {"s0": [-1.0]}]
    found = pooled(by_voter)
    assert found.mean == pytest.approx(0.8)
    assert found.of_seeds == (1.0, -1.0)
    assert found.scenes == 9


@pytest.mark.parametrize(("low", "high", "said"), [
    (0.55, 0.7, "new is preferred"), (0.2, 0.45, "old is preferred"), (0.45, 0.7, "there is no clear preference"),
    (1.0, 1.0, "all votes are alike"),
])  # fmt: skip
def test_the_sentence_says_what_the_interval_shows(low, high, said):
    asked = PeopleVerdict("a", "b", "d", 0.625, low, high, votes=40, voters=2, images=20, scenes=7)
    sentence = asked.sentence("old", "new")
    assert sentence.startswith("Asked people: new got 62% of 40 votes against old")
    assert said in sentence
    assert "One voter says nothing" not in sentence


def test_one_voter_is_said_to_be_one():
    study = study_of()
    found = result_of(study, votes_of(study, Anna=[1, -1] * 6))
    assert found.sentence.endswith("One voter says nothing about other people.")
    assert found.agreement is None
    assert "No image has votes of two voters" in markdown(found)


def test_the_result_is_told_and_written(tmp_path, capsys):
    study = study_of()
    folder = folder_of(tmp_path / "vote", study)
    report_result(folder)
    assert "no votes yet" in capsys.readouterr().out
    votes = votes_of(study, **{"A|nna <b>": [1] * 9 + [0] * 3, "Ben": [1] * 12}).votes
    with vt.locked(folder):
        for vote in votes:
            vt.append(folder, vote)
    with (folder / vt.NAME).open("a") as out:
        out.write('{"voter": "Ben", "back": "scene0/0", "time": ""}\nrubbish\n')
    report_result(folder)
    said = capsys.readouterr()
    assert "line 26 ignored" in said.err
    plain = json.loads((folder / "result.json").read_text())
    assert plain["share"] == pytest.approx((20 + 1.5) / 23)
    assert plain["models"] == {"A": "oak", "B": "elm"}
    assert (plain["a"], plain["b"], plain["votes"]) == ("aa" * 32, "bb" * 32, 23)
    text = (folder / "result.md").read_text()
    assert text.strip() in said.out
    assert plain["sentence"] in text
    assert "| A/nna ‹b› | 12 | 0 | 9 | 3 |" in text
    with (folder / vt.NAME).open("a") as out:  # everybody takes back everything
        out.writelines(json.dumps({"voter": v.voter, "back": v.key, "time": ""}) + "\n" for v in votes)
    report_result(folder)
    assert not (folder / "result.json").exists(), "no result of votes that do not count any more"
