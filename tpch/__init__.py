"""TPC-H for sord: data, the 22 queries, their reference answers, and a runner that checks every answer."""
