"""What one can ask for: audit (measure) and generate; both share the one loop of `observe`."""
