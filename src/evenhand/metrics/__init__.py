"""From verdicts to estimates with intervals, floors and decisions; numpy and scipy only."""

from .decision import decide, fair_is_possible, images_for_fair_verdict, row_decision
from .intervals import clopper_pearson, clopper_pearson_upper, goodman, safety_interval, wilson
from .summary import bias_estimates, obedience_estimates, recognition_estimates, safety_estimates
from .tally import Tally, tally, worst_case

__all__ = [
    "Tally",
    "bias_estimates",
    "clopper_pearson",
    "clopper_pearson_upper",
    "decide",
    "fair_is_possible",
    "goodman",
    "images_for_fair_verdict",
    "obedience_estimates",
    "recognition_estimates",
    "row_decision",
    "safety_estimates",
    "safety_interval",
    "tally",
    "wilson",
    "worst_case",
]
