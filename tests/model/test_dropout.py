"""Dropout by 16 bits an element: what is dropped, how the rest is scaled, and its gradient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from emoji_gpt2.model.dropout import FastDropout, use_fast_dropout

SHAPES = st.lists(st.integers(0, 7), min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_p_and_the_mean_is_kept(p: float) -> None:
    torch.manual_seed(0)
    ones = torch.ones(1000, 1003)
    out = FastDropout(p)(ones)
    count = ones.numel()
    assert (out == 0).sum().item() / count == pytest.approx(p, abs=5 * (p * (1 - p) / count) ** 0.5)
    assert out.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-3)
    assert out.mean().item() == pytest.approx(1, abs=5 * (p / (1 - p) / count) ** 0.5)


def test_elements_are_dropped_independently_of_their_neighbours() -> None:
    torch.manual_seed(0)
    dropped = (FastDropout(0.3)(torch.ones(400_000)) == 0).double()
    for distance in (1, 2, 3, 4, 8):  # four share one number
        pairs = torch.stack([dropped[:-distance], dropped[distance:]])
        assert abs(torch.corrcoef(pairs)[0, 1].item()) < 0.01


@given(shape=SHAPES, p=st.sampled_from([0.0, 1e-9, 0.25, 1 - 1e-9, 1.0]))
def test_every_shape_and_every_p_gives_an_output_of_the_input_s_shape(
    shape: tuple[int, ...], p: float
) -> None:
    out = FastDropout(p)(torch.ones(shape, dtype=torch.bfloat16))
    assert out.shape == shape
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


def test_the_gradient_passes_where_the_input_did() -> None:
    torch.manual_seed(0)
    given_ = torch.randn(40, 50, requires_grad=True)
    out = FastDropout(0.4)(given_)
    out.sum().backward()
    assert given_.grad is not None
    torch.testing.assert_close(given_.grad * given_.detach(), out.detach())


def test_a_seed_repeats_it_and_evaluation_drops_nothing() -> None:
    layer, ones = FastDropout(0.5), torch.ones(100, 7)
    torch.manual_seed(3)
    first = layer(ones)
    torch.manual_seed(3)
    assert torch.equal(first, layer(ones))
    assert not torch.equal(first, layer(ones))
    assert torch.equal(layer.eval()(ones), ones)


def test_layers_are_replaced_in_place_with_their_p_and_mode() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.2), nn.Dropout(0.0).eval()))
    use_fast_dropout(model)
    layers = [m for m in model.modules() if isinstance(m, nn.Dropout)]
    assert [type(layer) for layer in layers] == [FastDropout, FastDropout]
    assert [(layer.p, layer.training) for layer in layers] == [(0.2, True), (0.0, False)]
