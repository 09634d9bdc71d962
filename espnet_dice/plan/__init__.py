"""Before a recipe's first stage works: what cannot end well, what is to be done, what it takes."""
