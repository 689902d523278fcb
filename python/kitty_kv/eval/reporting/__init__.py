"""One report from any set of results: evaluations, latencies, simulations. ``python -m kitty_kv.eval.reporting --help`` runs it."""
