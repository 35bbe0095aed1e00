"""`mlflow server` with the words given, and the database's password from a secret's file.

It stands in no command line, no address and no setting of the container. PostgreSQL's own library
reads PGPASSWORD where an address has no password.
"""

import os
import sys
from pathlib import Path

SECRET = Path(os.environ.get("POSTGRES_PASSWORD_FILE", "/run/secrets/postgres_password"))

os.environ["PGPASSWORD"] = SECRET.read_text(encoding="utf-8").rstrip("\n")
words = ["-m", "mlflow", "server", *sys.argv[1:]]
os.execv(sys.executable, [sys.executable, *words])
