"""The kinds of interventions: what a method computes, and what the host carries through a pipeline."""
