"""The register of broken stores: beside each stand the tests of the suite that must notice it."""

BROKEN = {}
"""Name: (class, names of the tests that fail, without `test_`). Those fail, and no others."""


def fails(*tests):
    """Register a store with the tests that it must fail."""

    def register(store):
        BROKEN[store.__name__] = store, frozenset(tests)
        return store

    return register
