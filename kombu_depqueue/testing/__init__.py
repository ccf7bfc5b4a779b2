"""Shipped test tools: pytest fixtures (`-p kombu_depqueue.testing.fixtures`) and the conformance suite."""
