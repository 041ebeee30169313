"""State in a SQL database: SQLAlchemy Core tables, records and the statements on them."""
