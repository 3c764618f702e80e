"""Sources that capture changes and sinks that deliver them; never imports streams or monitor."""
