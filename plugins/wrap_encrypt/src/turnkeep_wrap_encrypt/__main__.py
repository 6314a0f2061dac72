"""`python -m turnkeep_wrap_encrypt new-key`: a key for [session.encrypt]."""

from __future__ import annotations

import argparse
import os
from base64 import b64encode

from turnkeep_wrap_encrypt.plugin import KEY_BYTES


def main() -> int:
    """Print a new key."""
    parser = argparse.ArgumentParser(prog="python -m turnkeep_wrap_encrypt")
    parser.add_subparsers(dest="command", required=True).add_parser(
        "new-key", help=f"print {KEY_BYTES} random bytes as base64"
    )
    parser.parse_args()
    print(b64encode(os.urandom(KEY_BYTES)).decode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
