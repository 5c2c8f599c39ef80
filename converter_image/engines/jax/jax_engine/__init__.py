"""The JAX engine: litert-converter's passes for what jax.export wrote, and JAX for what the original says.

``reading`` takes a file apart and refuses what cannot be converted, ``modules`` looks through its operations,
``naming`` says what inputs and outputs are called, ``lowering`` gives it sizes, ``precision`` its numbers,
``converting`` makes the float file, and ``original`` is the function as JAX runs it.
"""
