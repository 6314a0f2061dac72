"""Help for tests, of this project and of plugin authors. Needs the test's own dependencies."""
