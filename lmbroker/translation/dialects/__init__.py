"""One folder for each dialect: wire format <-> Unified Model, each with the same modules.

``base`` is the contract that each fulfils, ``catalog`` lists them.
"""
