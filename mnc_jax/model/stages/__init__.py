"""The stages of the cascade: one module of weights each, pure functions around it."""
