"""What comes before a recipe's first stage: where its parts are, a corpus's own, what is there."""
