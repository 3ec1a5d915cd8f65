import torch

from archsr.utils.seeds import generator, seed_of, unit


def test_values_never_change():
    """Resumed runs and byte-identical shards depend on these."""
    assert seed_of(0, "split", "a") == 649960613218529733
    assert seed_of(7, "crop", 123456789012) == 787146660105850069
    assert (
        len({seed_of(0), seed_of(1), seed_of(0, "a"), seed_of(0, "a", 1), seed_of(0, "a", "1"), seed_of(0, "a1")}) == 6
    )


def test_generators_are_fresh_and_equal_for_equal_keys():
    a, b = generator(3, "crop", 5), generator(3, "crop", 5)
    assert torch.equal(torch.rand(4, generator=a), torch.rand(4, generator=b))
    assert not torch.equal(torch.rand(4, generator=generator(3, "crop", 6)), torch.rand(4, generator=b))


def test_global_randomness_is_untouched():
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(0, "x"))
    assert torch.equal(torch.get_rng_state(), before)


def test_unit_is_uniform_in_zero_one():
    values = torch.tensor([unit(0, "u", i) for i in range(4000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert abs(values.mean() - 0.5) < 0.02
