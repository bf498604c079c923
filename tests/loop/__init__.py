"""The loop's machinery: queue, election, handlers, settings, commands."""
