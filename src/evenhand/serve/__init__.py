"""The server: OpenAI's image endpoint in front of a model, or of another server, under a policy that is watched."""
