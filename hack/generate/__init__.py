"""Writes every generated file of the repository; each generator has a `--check` that fails on a stale file and writes nothing."""
