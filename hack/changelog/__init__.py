"""The changelog, made of fragments."""
