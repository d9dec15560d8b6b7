"""A W&B-compatible server for demos, tests and development.

It is judged by the official SDK and by `schemas/wandb.graphql` alone, and shares no code with the
rest of wbsync: what both sides agreed on by sharing code would prove nothing.
"""
