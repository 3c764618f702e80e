"""The Faust worker: its transport, transactions and processors; never imports connectors or monitor."""
