"""How good a clustering is: exact where one pass can tell, sampled with an interval where not."""
