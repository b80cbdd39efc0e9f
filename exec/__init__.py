"""Execution: coordinator, workers, exchanges, fleets. Importing this package imports none of them."""
