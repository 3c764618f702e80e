"""ClickHouse, embedded (chDB) or a server: where accounts become figures."""
