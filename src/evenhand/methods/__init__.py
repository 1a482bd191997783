"""One thin file per published method: how to make, or to fit, an intervention."""
