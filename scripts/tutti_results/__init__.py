"""What scripts/report.py and scripts/compare.py share: reading results of benchmarks, statistics over launches, drawing.

| module | answers |
| --- | --- |
| `read` | what is in these files? |
| `words` | how is a size, a time, a row written? |
| `quantiles` | which percentile do samples have, and how sure is that? |
| `rank_tests` | is one side slower than the other? |
| `comparison` | which rows of two sides differ, by how much, and which of them are regressions? |
| `change_points` | where does a series change its level? |
| `svg`, `charts` | how does it look? |
| `page` | the report as one HTML page |
"""
