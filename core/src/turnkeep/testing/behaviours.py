"""What the conformance suite shows: `python -m turnkeep.testing.behaviours` prints the table.

D1 to D10 are the ten clauses of the store contract, S1 to S56 the single behaviours in them, E1 to
E4 those of `erase`. A number that is missing from the tests says where it is shown instead.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final, NamedTuple


class Behaviour(NamedTuple):
    """A sentence; `elsewhere` says why no test of the suite shows it, or what it leaves out."""

    sentence: str
    elsewhere: str | None = None


BEHAVIOURS: Final = {
    "D1": Behaviour(
        "An append is all or nothing, for readers and after a crash; what returned lasts",
        "power loss cannot be seen from outside: the SQLite store's tests read a trace of its "
        "system calls",
    ),
    "D2": Behaviour("What is not expected conflicts, with the current head; one writer wins"),
    "D3": Behaviour("A retry with the same commit id writes nothing twice; a cancel has settled"),
    "D4": Behaviour(
        "Order is seq, never time; the cost of an append does not depend on the length",
        "cost is measured by benchmarks/; indexes are looked at by the SQLite store's tests",
    ),
    "D5": Behaviour("What is returned is independent of the store"),
    "D6": Behaviour("A ttl slides on append by the store's clock; expired is found by nothing"),
    "D7": Behaviour("Any Unicode of 1 to 512 bytes is an id, compared byte for byte"),
    "D8": Behaviour("Lists page newest first and stable; bad limits and cursors are errors"),
    "D9": Behaviour("A closed store says so and has waited; first use and schemas are safe"),
    "D10": Behaviour("A record that cannot be read is CorruptSession, never skipped"),
    "S1": Behaviour("create, then load: empty, at version 0"),
    "S2": Behaviour("create of what exists is SessionExists"),
    "S3": Behaviour("of concurrent creates one wins"),
    "S4": Behaviour("all who race to get or create have the same session"),
    "S5": Behaviour("records get the seqs 1 to n"),
    "S6": Behaviour("order is seq, though the clock was set back"),
    "S7": Behaviour("equal times keep the order"),
    "S8": Behaviour("one version more for each append"),
    "S9": Behaviour("state alone: a version, no seq"),
    "S10": Behaviour("records and state are written together, whatever fails between them"),
    "S11": Behaviour("an expectation that is not met conflicts"),
    "S12": Behaviour("a conflict writes nothing"),
    "S13": Behaviour("a conflict tells the current head"),
    "S14": Behaviour("append to a missing session is SessionNotFound"),
    "S15": Behaviour("an empty append only touches"),
    "S16": Behaviour("the same commit id twice writes once"),
    "S17": Behaviour("1,000 records in one append"),
    "S18": Behaviour("a record of 8 MB"),
    "S19": Behaviour("NUL, emoji and 64-bit integers in records; half a surrogate pair is no id"),
    "S20": Behaviour("floats and the order of keys in a state"),
    "S21": Behaviour("load of a missing session is None"),
    "S22": Behaviour("load from the base, or after a seq"),
    "S23": Behaviour("limits page without gap or overlap"),
    "S24": Behaviour("a known revision is NotModified"),
    "S25": Behaviour("a load is one snapshot while a writer runs"),
    "S26": Behaviour("objects returned are independent copies"),
    "S27": Behaviour("a damaged record raises, with its seq"),
    "S28": Behaviour("a session id is global, whoever is its user"),
    "S29": Behaviour("separators and wildcards in ids"),
    "S30": Behaviour("ids up to 512 bytes"),
    "S31": Behaviour("ids differ by case and by every byte"),
    "S32": Behaviour("two tasks: no turn lost, none doubled"),
    "S33": Behaviour("two processes: none lost, doubled or interleaved"),
    "S34": Behaviour("many sessions go on in parallel"),
    "S35": Behaviour(
        "competing writers do not starve each other for ever",
        "the contract has no helper that retries; retrying is core's, tested with its sessions",
    ),
    "S36": Behaviour("first use by eight processes"),
    "S37": Behaviour("an expired session is not loaded, listed, appended to, deleted"),
    "S38": Behaviour("a ttl slides on append"),
    "S39": Behaviour("a ttl does not slide on load"),
    "S40": Behaviour("no key of a session outlives it"),
    "S41": Behaviour("purge takes records too, and is bounded"),
    "S42": Behaviour("delete removes everything"),
    "S43": Behaviour("created anew: version 0, another incarnation, old handles conflict"),
    "S44": Behaviour("newest first, pages stable under writes"),
    "S45": Behaviour("a user's list shows only their own"),
    "S46": Behaviour("a fork is independent of its source"),
    "S47": Behaviour("a fork ends at the seq that was asked for"),
    "S48": Behaviour(
        "rewind restores the state", "rewind is core's, by appending; no store has it"
    ),
    "S49": Behaviour("a stale rewind conflicts", "rewind is an append of core's: see S11"),
    "S50": Behaviour("kill -9 loses nothing acknowledged"),
    "S51": Behaviour("kill -9 leaves nothing partial"),
    "S52": Behaviour("a cancelled append is all or nothing, and its handle is usable"),
    "S53": Behaviour("open again, also after a crash"),
    "S54": Behaviour("closing twice is fine, use after it raises"),
    "S55": Behaviour("a newer schema is refused, an older one migrated"),
    "S56": Behaviour("times are aware UTC, in every time zone"),
    "E1": Behaviour("erase puts other bytes in the place of the named records only"),
    "E2": Behaviour("erase is fenced, and fails whole"),
    "E3": Behaviour("erase is done once for one commit id, and slides the ttl"),
    "E4": Behaviour("erase leaves nothing of the old bytes"),
}


def tests_by_behaviour() -> dict[str, list[str]]:
    """Give the names of the tests that show each behaviour. Needs pytest."""
    from turnkeep.testing.conformance import StoreConformance  # needs pytest

    found: dict[str, list[str]] = defaultdict(list)
    for group in StoreConformance.__bases__:
        for name, test in vars(group).items():
            coverage = getattr(test, "__turnkeep__", None)
            for behaviour in () if coverage is None else coverage.behaviours:
                found[behaviour].append(name)
    return dict(found)


def table() -> str:
    """Give the table of behaviours and tests, in Markdown."""
    tests = tests_by_behaviour()
    lines = ["| | behaviour | shown by |", "|---|---|---|"]
    for key, (sentence, elsewhere) in BEHAVIOURS.items():
        shown = [f"`{name.removeprefix('test_')}`" for name in tests.get(key, [])]
        if elsewhere is not None:
            shown.append(f"{'also' if shown else 'elsewhere'}: {elsewhere}")
        lines.append(f"| {key} | {sentence} | {'; '.join(shown)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
