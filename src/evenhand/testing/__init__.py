"""For those who write methods, judges and metrics: a model whose truth is known, and the laws that all of them obey.

from evenhand.testing.methods import check_method
from evenhand.testing.judges import check_judge
from evenhand.testing.metrics import check_metric
"""
