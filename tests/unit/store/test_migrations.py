import pytest

from ingest.store.migrations import migrations, newest_version, split_statements


def test_statements_end_with_a_semicolon_at_a_lines_end() -> None:
    script = "-- a comment; with one\nCREATE TABLE a (\n    b INT -- kept\n);\n\n  -- another\nSELECT 'x;y';\n"

    assert split_statements(script) == ("CREATE TABLE a (\n    b INT -- kept\n)", "SELECT 'x;y'")


@pytest.mark.parametrize("script", ["", "\n", "-- nothing but a comment;\n", ";\n;\n"])
def test_script_without_statements_has_none(script: str) -> None:
    assert split_statements(script) == ()


@pytest.mark.parametrize("dialect", ["mysql", "sqlite"])
def test_versions_are_numbered_from_one_without_gaps(dialect: str) -> None:
    versions = [migration.version for migration in migrations(dialect)]

    assert versions == list(range(1, len(versions) + 1))
    assert newest_version(dialect) == versions[-1]


@pytest.mark.parametrize("dialect", ["mysql", "sqlite"])
def test_every_migration_has_a_name_and_statements(dialect: str) -> None:
    assert all(migration.name and migration.statements for migration in migrations(dialect))


def test_dialects_have_the_same_migrations() -> None:
    assert [(m.version, m.name) for m in migrations("mysql")] == [(m.version, m.name) for m in migrations("sqlite")]
