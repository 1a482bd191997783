"""The run directory: what a run has done so far, on disk, so that a killed run continues where it stopped.

run.json        configuration, versions, model, judge, batch size, dtype, threads; written once
ledger.sqlite   a row per committed image, its verdicts, and what was spent (SQLite in WAL mode)
images/         the images, PNG, each named by the SHA-256 of its bytes
result.json     the estimates, written at the end
"""

from .facts import (
    RESULT_SCHEMA,
    RUN_SCHEMA,
    check_free,
    check_out,
    check_same_config,
    check_schema,
    check_writable,
    read_run,
    versions,
)
from .images import IMAGES, Encoded, encode
from .ledger import LEDGER, Ledger
from .parquet import PARQUET, export_parquet
from .run import RunDirectory
from .units import Finished, WorkUnit, image_keys, units_of

__all__ = [
    "IMAGES",
    "LEDGER",
    "PARQUET",
    "RESULT_SCHEMA",
    "RUN_SCHEMA",
    "Encoded",
    "Finished",
    "Ledger",
    "RunDirectory",
    "WorkUnit",
    "check_free",
    "check_out",
    "check_same_config",
    "check_schema",
    "check_writable",
    "encode",
    "export_parquet",
    "image_keys",
    "read_run",
    "units_of",
    "versions",
]
