"""PURE. Objects as the API server sends them, and how they become values of the domain; one module for each API version.

The structs hold only the fields that are used, so a list of ten thousand Services decodes in a fraction of a second; whatever else an object
carries is skipped by the decoder. Custom resource definitions are generated from the structs of our own group.
"""
