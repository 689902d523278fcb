"""End-to-end latency of generation beside what Transformers itself offers; ``python -m kitty_kv.bench.latency``."""
