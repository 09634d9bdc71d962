"""Commands that ESPnet's launcher starts."""
