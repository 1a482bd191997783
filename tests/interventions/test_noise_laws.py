"""Laws of a coordinate: what they cost, what they reach, and that nothing is moved for nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from evenhand.interventions.noise_laws import (
    SAME,
    Law,
    between,
    clear,
    joint_kl,
    mixture,
    reaching,
    reflected,
    shifted,
    tilted,
)

DRAWN = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
R = 0.6


def chances(cut: float, strength: float = R) -> object:
    """Two classes; the second where R s + sqrt(1 - R^2) e is above the cut."""

    def of(places: np.ndarray) -> np.ndarray:
        above = norm.cdf((strength * places - cut) / np.sqrt(1 - strength**2))
        return np.stack([1 - above, above], axis=1)

    return of


def shares(law: Law, likely: object) -> np.ndarray:
    return likely(law.map(DRAWN)).mean(axis=0)  # type: ignore[operator]


@given(share=st.floats(0.05, 0.95), cut=st.floats(-2, 2))
def test_the_tilted_law_has_the_wanted_shares(share: float, cut: float) -> None:
    likely = chances(cut)
    assert shares(tilted(likely, [1 - share, share]), likely)[1] == pytest.approx(share, abs=0.003)


def test_a_law_says_by_how_much_it_misses_the_shares() -> None:
    # at nine standard deviations the class is shown in Phi(.2 * 9 - 4) of the images: one in seventy
    likely = chances(4.0 * np.sqrt(1 - 0.2**2), strength=0.2)
    assert tilted(likely, [0.5, 0.5]).missed > 0.45
    assert tilted(chances(1.0), [0.5, 0.5]).missed < 0.003
    assert tilted(chances(0.0), [0.5, 0.5]) is SAME


@given(share=st.floats(0.1, 0.9), cut=st.floats(-2, 2))
def test_the_tilted_law_costs_no_more_than_the_shift_with_the_same_shares(share: float, cut: float) -> None:
    # P(above | shift w) = Phi(R w - cut), so w = (cut + Phi^-1(share)) / R
    by = (cut + norm.ppf(share)) / R
    assert tilted(chances(cut), [1 - share, share]).kl <= shifted(by).kl + 1e-3


def test_no_law_costs_less_than_the_classes_themselves() -> None:
    # KL of the coordinate is at least that of the classes it decides: here 3 % made half
    likely = chances(norm.isf(0.03))
    least = 0.5 * np.log(0.5 / 0.03) + 0.5 * np.log(0.5 / 0.97)
    law = tilted(likely, [0.5, 0.5])
    assert law.kl > least
    assert law.kl == pytest.approx(_kl_of(law), abs=0.02)


def test_a_target_that_is_met_already_moves_nothing() -> None:
    likely = chances(0.0)
    assert tilted(likely, [0.5, 0.5]) is SAME
    assert reaching(likely, 1, 0.3) is SAME
    assert shifted(0.0) is SAME
    assert between(-np.inf, np.inf) is SAME
    assert SAME.map(DRAWN) is DRAWN


@pytest.mark.parametrize("success", [0.8, 0.95])
def test_an_assigned_class_is_reached_at_least_cost(success: float) -> None:
    likely = chances(norm.isf(0.03))
    law = reaching(likely, 1, success)
    assert shares(law, likely)[1] == pytest.approx(success, abs=0.003)
    by = (norm.isf(0.03) + norm.ppf(success)) / R
    assert law.kl <= shifted(by).kl + 1e-3


def test_three_classes_get_their_shares_though_one_lies_in_the_middle() -> None:
    def likely(places: np.ndarray) -> np.ndarray:
        low, high = (norm.cdf((0.85 * places - cut) / np.sqrt(1 - 0.85**2)) for cut in (-1.2, 1.0))
        return np.stack([1 - low, low - high, high], axis=1)

    wanted = [1 / 3, 1 / 3, 1 / 3]
    assert shares(tilted(likely, wanted), likely) == pytest.approx(wanted, abs=0.005)


def tones(places: np.ndarray) -> np.ndarray:
    """Three classes, of which the middle one is shown in 45 of 100 images at most."""
    low, high = (norm.cdf((places - cut) / 0.8) for cut in (-0.5, 0.45))
    return np.stack([1 - low, low - high, high], axis=1)


@given(share=st.floats(0.05, 0.95), cut=st.floats(-0.8, 0.8))
def test_the_clear_law_has_the_wanted_shares_and_shows_each_class_surely(share: float, cut: float) -> None:
    likely = chances(cut)
    law = clear(likely, [1 - share, share], 0.97)
    assert shares(law, likely)[1] == pytest.approx(share, abs=0.003)
    assert likely(law.map(DRAWN)).max(axis=1).mean() >= 0.965  # type: ignore[operator]
    assert law.missed < 0.001


@given(share=st.floats(0.2, 0.8), cut=st.floats(-0.8, 0.8), error=st.floats(-0.5, 0.5))
def test_an_error_of_the_cut_moves_a_clear_law_less(share: float, cut: float, error: float) -> None:
    wanted, truth = [1 - share, share], chances(cut + error)
    clearly, least = (
        shares(law, truth)[1] - share for law in (clear(chances(cut), wanted, 0.97), tilted(chances(cut), wanted))
    )
    # near the cut the normal curve is .4 high; where a class is clear it is .07 (at Phi^-1(.97))
    assert abs(clearly) <= 0.5 * abs(least) + 0.003


@given(share=st.floats(0.1, 0.9), cut=st.floats(-0.8, 0.8))
def test_the_clear_law_costs_more_than_the_least_and_less_than_shifts_for_each_class(share: float, cut: float) -> None:
    wanted = [1 - share, share]
    # P(above | shift w) = Phi(R w - cut): .03 for the one class, .97 for the other
    places = [(cut - norm.ppf(0.97)) / R, (cut + norm.ppf(0.97)) / R]
    law = clear(chances(cut), wanted, 0.97)
    assert tilted(chances(cut), wanted).kl <= law.kl <= mixture(places, wanted).kl + 0.02


def test_no_class_is_made_clearer_than_five_standard_deviations_do() -> None:
    # one in a thousand shows the class, and the coordinate decides little: .97 would be 8 standard deviations away
    likely = chances(norm.isf(0.001), strength=0.6)
    law = clear(likely, [0.5, 0.5], 0.97)
    assert shares(law, likely)[1] == pytest.approx(0.5, abs=0.005)
    surely = mixture([(norm.isf(0.001) + z) / 0.6 for z in (-norm.isf(0.03), norm.isf(0.03))], [0.5, 0.5])
    assert tilted(likely, [0.5, 0.5]).kl < law.kl < 13 < surely.kl


def test_a_share_beyond_what_an_image_of_a_class_shows_is_that_of_the_least_law() -> None:
    law, least = (make(chances(1.0), [0.01, 0.99]) for make in (lambda *asked: clear(*asked, 0.9), tilted))
    assert law.kl == pytest.approx(least.kl)
    assert shares(law, chances(1.0))[1] == pytest.approx(0.99, abs=0.003)


def test_a_class_in_the_middle_gets_its_share_though_it_is_never_clear() -> None:
    assert tones(DRAWN)[:, 1].max() < 0.46
    law = clear(tones, [1 / 3, 1 / 3, 1 / 3], 0.97)
    assert shares(law, tones) == pytest.approx([1 / 3, 1 / 3, 1 / 3], abs=0.005)


def test_where_clear_classes_cannot_make_the_shares_the_law_is_the_least_one() -> None:
    # the law that shows the middle most often shows both its neighbours, and .05 of the first is less than that
    wanted = [0.10, 0.42, 0.48]
    assert clear(tones, wanted, 0.97).kl == pytest.approx(tilted(tones, wanted).kl)
    assert clear(tones, wanted, 0.97).missed == pytest.approx(tilted(tones, wanted).missed)


@given(low=st.floats(-3, 3), width=st.floats(0.2, 4))
def test_the_truncated_law_is_the_normal_one_within_its_bounds(low: float, width: float) -> None:
    law, high = between(low, low + width), low + width
    moved = law.map(DRAWN)
    assert low - 1e-9 <= moved.min()
    assert moved.max() <= high + 1e-9
    inside = norm.cdf(high) - norm.cdf(low)
    assert law.kl == pytest.approx(-np.log(inside), rel=1e-6)
    assert kstest(moved, lambda x: (norm.cdf(x) - norm.cdf(low)) / inside).statistic < 0.002


def test_a_reflection_is_the_same_picture_of_the_noise_on_the_other_side() -> None:
    assert np.array_equal(reflected(1).map(DRAWN), -reflected(-1).map(DRAWN))
    assert reflected(1).kl == pytest.approx(np.log(2))
    both = np.concatenate([reflected(1).map(DRAWN), reflected(-1).map(DRAWN)])
    assert kstest(both, norm.cdf).statistic < 0.001  # half of the images on each side: exactly what is drawn anyway


def test_every_map_rises_so_images_keep_their_order() -> None:
    for law in (
        tilted(chances(1.5), [0.5, 0.5]),
        clear(chances(1.5), [0.5, 0.5], 0.97),
        between(0.5, 2),
        shifted(1.5),
        mixture([-3, 3], [0.5, 0.5]),
    ):
        assert (np.diff(law.map(DRAWN)) >= 0).all()


def test_a_mixture_has_the_moments_of_its_parts() -> None:
    law = mixture([-1.0, 2.0], [0.25, 0.75])
    moved = law.map(DRAWN)
    assert moved.mean() == pytest.approx(0.25 * -1 + 0.75 * 2, abs=0.01)
    assert moved.var() == pytest.approx(1 + 0.25 * 0.75 * 9, abs=0.03)


def test_correlated_shifts_cost_what_the_inverse_of_their_products_says() -> None:
    gram = np.array([[1.0, 0.6], [0.6, 1.0]])
    # (3, 3) G^-1 (3, 3)^T / 2 = 9 / (1 + .6) = 5.625
    assert joint_kl([shifted(3.0), shifted(3.0)], gram) == pytest.approx(5.625)
    assert joint_kl([SAME, SAME], gram) == 0.0
    # a law that is no shift object but is one: the general formula agrees with the closed form
    general = [Law(map=lambda s: s + 3.0, kl=4.5) for _ in range(2)]
    assert joint_kl(general, gram) == pytest.approx(5.625, abs=0.1)


def test_orthogonal_directions_cost_the_sum() -> None:
    laws = [tilted(chances(1.0), [0.5, 0.5]), between(0.0, np.inf)]
    assert joint_kl(laws, np.eye(2)) == pytest.approx(laws[0].kl + laws[1].kl)


def _kl_of(law: Law) -> float:
    """From the map alone: E[log q(T(s)) / n(T(s))], where q(T(s)) T'(s) = n(s)."""
    s = DRAWN[200:-200]
    moved = law.map(s)
    slope = np.gradient(moved, s)
    return float(np.mean(norm.logpdf(s) - np.log(slope) - norm.logpdf(moved)))
