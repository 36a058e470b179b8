"""The OpenAI-compatible server. A service, not a stage: others reach it over HTTP only."""
