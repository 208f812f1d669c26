"""Who is told of calls: metrics and the access log, and how log lines reach their file."""
