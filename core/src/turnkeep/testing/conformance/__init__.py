"""The conformance suite for session stores: subclass `StoreConformance` in a test module.

How, and what is skipped when, is in docs/conformance.md. Needs pytest: `turnkeep[testing]`.
"""

from __future__ import annotations

import pytest

# Before they are imported: asserts then say what was compared, as in a test module.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "appending",
            "base",
            "closing",
            "concurrency",
            "creating",
            "isolation",
            "lifetime",
            "listing",
            "loading",
            "powers",
            "processes",
        )
    )
)

from turnkeep.testing.conformance.appending import Appending
from turnkeep.testing.conformance.base import Case
from turnkeep.testing.conformance.closing import Closing, Crashing, Schemas
from turnkeep.testing.conformance.concurrency import Concurrency
from turnkeep.testing.conformance.creating import Creating
from turnkeep.testing.conformance.isolation import Isolation
from turnkeep.testing.conformance.lifetime import Expiring, Removing, Times
from turnkeep.testing.conformance.listing import Listing
from turnkeep.testing.conformance.loading import Loading
from turnkeep.testing.conformance.powers import Erasing, Forking
from turnkeep.testing.second_process import Opener

__all__ = ["Case", "Opener", "StoreConformance"]


class StoreConformance(
    Creating,
    Appending,
    Loading,
    Isolation,
    Concurrency,
    Expiring,
    Removing,
    Times,
    Listing,
    Closing,
    Crashing,
    Schemas,
    Forking,
    Erasing,
):
    """All tests of the suite. Override the fixture `opener`, and what hooks the store allows."""
