"""The batch size is arithmetic on family, size and free memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.host import memory
from evenhand.host.host import Host
from evenhand.host.memory import default_batch_size, image_bytes, round_batch
from evenhand.records import Settings


@given(st.integers(-5, 10_000))
def test_rounding_goes_down_to_1_2_4_or_a_multiple_of_8(size: int) -> None:
    rounded = round_batch(size)
    assert rounded in (1, 2, 4) or rounded % 8 == 0
    assert rounded == 1 or size / 2 < rounded <= size


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (32, 48),  # latents of 16 x 16, since the tiny VAE halves
        (16, 192),  # 8 x 8: four times as many
        (64, 8),  # 32 x 32: 12, rounded down
        (256, 1),  # 128 x 128: 0.75, at least one
    ],
)
def test_on_a_cpu_one_batch_has_48_times_16_times_16_latent_pixels(sd1: Host, pixels: int, expected: int) -> None:
    assert default_batch_size(sd1, Settings(width=pixels, height=pixels)) == expected


def test_activations_stay_in_a_quarter_of_the_free_memory(sd1: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(width=32, height=32)
    # denoising: two rows x 48 maps x 16 x 16 x 16 channels x 4 bytes = 1,572,864
    # decoding: 6 maps x 32 x 32 x 16 channels x 4 bytes = 393,216
    assert image_bytes(sd1, settings) == 1_572_864
    for fitting, expected in ((0, 1), (3, 2), (20, 16), (1000, 48)):
        monkeypatch.setattr(memory, "free_memory", lambda device, fitting=fitting: 4 * fitting * 1_572_864)
        assert default_batch_size(sd1, settings) == expected


def test_free_memory_is_read(sd1: Host) -> None:
    assert memory.free_memory(next(sd1.denoiser.parameters()).device) > 2**20


def test_the_models_own_size_is_used_where_none_is_given(host: Host) -> None:
    assert host.image_size(Settings()) == (16, 16)
    assert host.image_size(Settings(width=24)) == (24, 16)
    assert default_batch_size(host, Settings()) == 192
