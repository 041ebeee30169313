"""How vivavoce's own models and calibrations are made; not part of the installed product."""
