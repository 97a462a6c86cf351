"""The version of this source tree. A release sets it from the git tag; between releases it says so."""

__version__ = "0.0.0.dev0"
