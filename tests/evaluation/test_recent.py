"""What is known of an image is not computed again."""

import torch

from archsr.evaluation.recent import Recent


def counted(most):
    asked = []
    return Recent(lambda *images: asked.append(images) or sum(float(i.sum()) for i in images), most=most), asked


def test_a_photograph_is_asked_about_once_however_many_models():
    recent, asked = counted(4)
    gt = torch.ones(3)
    for n in range(10):
        assert recent(torch.full((2,), float(n))) == 2 * n
        assert recent(gt) == 3
    assert len(asked) == 11


def test_equal_images_are_not_the_same_image_and_the_order_counts():
    recent, asked = counted(8)
    a, b = torch.ones(2), torch.ones(2)
    for images in ((a,), (b,), (a, b), (b, a), (a, a), (a,)):
        recent(*images)
    assert len(asked) == 5


def test_the_longest_unused_is_forgotten():
    recent, asked = counted(2)
    a, b, c = (torch.full((1,), float(n)) for n in range(3))
    for image in (a, b, a, c, a, b):
        recent(image)
    assert [int(i[0]) for (i,) in asked] == [0, 1, 2, 1]
