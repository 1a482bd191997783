"""For those who write methods: a model whose truth is known in closed form, and the laws that every method obeys."""
