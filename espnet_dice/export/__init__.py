"""What leaves the house: models in the formats of other tools."""
