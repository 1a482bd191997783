"""Everything that Evenhand raises on purpose.

    EvenhandError                an internal failure with a clear line (exit status 1)
    |-- InputError               the user's input cannot be used (exit status 2); also a ValueError
    |   |-- ModelError           a model that is missing, broken or of an unknown kind
    |   |-- ConceptError         an unknown or malformed concept, target or prompt set
    |   |-- InertGuidanceError   an intervention that would do nothing with these settings
    |   `-- RunDirectoryError    an --out that cannot be written or belongs to something else
    |-- ThresholdError           a --fail-on threshold failed (exit status 3)
    |-- DeclinedError            a method declines on this model (exit status 4)
    |-- EndpointError            an endpoint fails, or has cost what it may; what was done stays (exit status 1)
    `-- StorageError             the disk is full or went away; what was done stays (exit status 1)

    EvenhandWarning              a UserWarning: it works, but not as one might think

Messages say what was given, what was expected, and what to do, in one line.
"""

from __future__ import annotations


class EvenhandError(Exception):
    """Base of everything that Evenhand raises on purpose."""

    exit_status = 1


class InputError(EvenhandError, ValueError):
    """The user's input cannot be used."""

    exit_status = 2


class ModelError(InputError):
    """A model that is missing, broken, or of a kind that is not known."""


class ConceptError(InputError):
    """An unknown or malformed concept, target or prompt set."""


class InertGuidanceError(InputError):
    """An intervention that would do nothing with these settings: it would only look as if it did."""


class RunDirectoryError(InputError):
    """An output folder that cannot be written or belongs to another configuration."""


class ThresholdError(EvenhandError):
    """A `--fail-on` threshold failed."""

    exit_status = 3


class DeclinedError(EvenhandError):
    """A method declines on this model; the message gives the reason."""

    exit_status = 4


class StorageError(EvenhandError):
    """Writing failed, for instance on a full disk; finished work stays and the run can be resumed."""


class EndpointError(EvenhandError):
    """An endpoint fails for long, or has cost what it may; finished work stays and the run can be resumed."""


class EvenhandWarning(UserWarning):
    """Something works, but not as one might think."""
