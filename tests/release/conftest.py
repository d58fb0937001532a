"""Tests of the chart and the workflow need tools that only `make test-chart` installs."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("helm_python") else ["test_chart.py", "test_workflow.py"]
