"""The web studio: look at what a model shows, change it, check the judge, take the result away."""
