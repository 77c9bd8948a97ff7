"""The test suite. A package, so that workers can import what they run."""
