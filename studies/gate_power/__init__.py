"""How often the regression gate finds a planted regression, and how good its intervals are."""
