"""What a build is judged on: eager references, evaluation vectors, latencies, verdicts."""
