"""Classes: what everyone with the link of a class bets and answers, without a name, in memory alone."""
