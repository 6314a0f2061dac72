"""Compare the items of two turnkeep JSONL files, and say what was compared."""

from __future__ import annotations

import sys

from turnkeep.transfer import read_file


def main() -> None:
    """Exit with 1 where they differ."""
    one, two = (
        [
            (event.seq, item)
            for session in read_file(name)
            for event in session.events
            for item in event.content
        ]
        for name in sys.argv[1:3]
    )
    if one != two:
        different = next((pair for pair in zip(one, two, strict=False) if pair[0] != pair[1]), None)
        sys.exit(f"they differ: {len(one)} and {len(two)} items; first difference: {different}")
    print(f"{len(one)} items, seq {one[0][0]} to {one[-1][0]}: equal")


if __name__ == "__main__":
    main()
