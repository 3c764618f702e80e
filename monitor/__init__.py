"""Registry, accounts in ClickHouse and the JSON API; never imports connectors or streams."""
