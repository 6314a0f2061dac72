"""All stores with one defect each."""

import broken_lifetime
import broken_reading
import broken_rest
import broken_writing
from defects import BROKEN

__all__ = ["BROKEN", "QUICK", "broken_lifetime", "broken_reading", "broken_rest", "broken_writing"]

QUICK = {"LastWriterWins", "TtlDoesNotSlide", "EraseLeavesOldBytes"}
"""Those that the normal run looks at; the long proofs look at all."""
