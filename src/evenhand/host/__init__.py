"""A diffusers pipeline as a measuring instrument: loading, families, one undo, the sampler.

Everything here works through public extension points of diffusers; no pipeline is rewritten.
"""
