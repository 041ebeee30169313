"""Batch jobs: enrolments and registrations from recordings."""
