"""The GAN objectives against their papers' formulas, and laws that hold for them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archsr.training.losses.gan import compares, discriminator_loss, generator_loss

OBJECTIVES = ["vanilla", "relativistic", "hinge", "least_squares"]


def logits(seed, shape=(3, 1, 4, 5)):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def both(objective, real, fake):
    """Return the discriminator's two losses; if the objective compares, each gets the other's logits."""
    other = {True: fake, False: real} if compares(objective) else {True: None, False: None}
    return (
        discriminator_loss(objective, real, real=True, other=other[True]),
        discriminator_loss(objective, fake, real=False, other=other[False]),
    )


def test_formulas():
    real, fake = logits(0), logits(1)
    log_d = {"real": torch.sigmoid(real).log(), "fake": torch.sigmoid(fake).log()}
    log_not_d = torch.sigmoid(-fake).log()
    expected = {
        # Goodfellow 2014: D raises log D(x) + log(1 - D(G(z))), G raises log D(G(z))
        "vanilla": (-log_d["real"].mean(), -log_not_d.mean(), -log_d["fake"].mean()),
        # Lim and Ye 2017
        "hinge": (torch.relu(1 - real).mean(), torch.relu(1 + fake).mean(), -fake.mean()),
        # Mao 2017 with labels 1 and 0, without its factors of one half
        "least_squares": ((real - 1).square().mean(), fake.square().mean(), (fake - 1).square().mean()),
    }
    # Jolicoeur-Martineau 2018: D~(real) = sigmoid(C(real) - mean C(fake)), and the other way round
    d_real, d_fake = torch.sigmoid(real - fake.mean()), torch.sigmoid(fake - real.mean())
    expected["relativistic"] = (
        -d_real.log().mean() / 2,
        -(1 - d_fake).log().mean() / 2,
        (-(1 - d_real).log().mean() - d_fake.log().mean()) / 2,
    )
    for objective in OBJECTIVES:
        found = (*both(objective, real, fake), generator_loss(objective, fake, real=real))
        assert torch.stack(found) == pytest.approx(torch.stack(expected[objective])), objective


@given(st.floats(-50, 50), st.integers(0, 99))
def test_the_relativistic_objective_knows_only_differences(shift, seed):
    real, fake = logits(seed), logits(seed + 100)
    here = (*both("relativistic", real, fake), generator_loss("relativistic", fake, real=real))
    there = (*both("relativistic", real + shift, fake + shift), generator_loss("relativistic", fake + shift,
             real=real + shift))  # fmt: skip
    assert torch.stack(here) == pytest.approx(torch.stack(there))


@given(st.integers(0, 99))
def test_the_relativistic_generator_is_the_discriminator_with_the_roles_exchanged(seed):
    real, fake = logits(seed), logits(seed + 100)
    assert float(generator_loss("relativistic", fake, real=real)) == pytest.approx(
        float(sum(both("relativistic", fake, real)))
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_sides_pull_against_each_other(objective):
    """The generator wants higher logits of fakes, the discriminator lower ones, between the labels 0 and 1."""
    real, fake = (0.5 + 0.4 * logits(s).tanh() for s in (0, 1))
    mine, his = fake.clone().requires_grad_(), fake.clone().requires_grad_()
    generator_loss(objective, mine, real=real).backward()
    both(objective, real, his)[1].backward()
    assert float(mine.grad.sum()) < 0
    assert float(his.grad.sum()) > 0


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("size", [1e4, 1e-4])
def test_extreme_logits_give_numbers(objective, size):
    real, fake = (size * logits(s).float().requires_grad_() for s in (0, 1))
    for loss in (*both(objective, real, fake), generator_loss(objective, fake, real=real)):
        assert loss.isfinite()
        for gradient in torch.autograd.grad(loss, [real, fake], retain_graph=True, allow_unused=True):
            assert gradient is None or gradient.isfinite().all()
