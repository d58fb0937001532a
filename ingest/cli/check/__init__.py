"""`ingest check`: an open-loop load on a deployment, and a verdict on its latency and errors."""
