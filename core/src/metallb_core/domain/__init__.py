"""PURE. The nouns of the problem: values that compare by content and never change.

Nothing here knows how an object looks on the wire (that is `api`), where it came from (`kube`) or what is decided about it.
"""
