"""Networks as files that other runtimes take, with a parity check."""
