"""Translation between the formats of clients and backends, through the Unified Model. Pure."""
