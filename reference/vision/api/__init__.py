"""The names that Vision's documented command uses."""
