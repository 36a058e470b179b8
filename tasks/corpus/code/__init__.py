"""Source code: files judged by simple statistics, then put together by repository, imported files first."""
