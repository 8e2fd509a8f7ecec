-- the tables of schema 1, as they were
CREATE TABLE unit ( id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, scope TEXT
 NOT NULL CHECK (scope IN  ('pipeline', 'chunk', 'input', 'operation')), key
 TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN  ('pending',
 'in_progress', 'completed', 'failed')), digest TEXT, size INTEGER, mtime
 INTEGER, inode INTEGER, tool TEXT, options TEXT, run TEXT, host TEXT, pid
 INTEGER, pgid INTEGER, lease INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
 class TEXT CHECK (class IN ('transient', 'permanent', 'unknown')), status
 INTEGER, code TEXT, error TEXT, created INTEGER NOT NULL, updated INTEGER NOT
 NULL, UNIQUE (pipeline, scope, key));
CREATE INDEX unit_state ON unit (state, updated);
CREATE INDEX unit_run ON unit (run, state);
CREATE TABLE attempt ( id INTEGER PRIMARY KEY, unit INTEGER NOT NULL
 REFERENCES unit ON DELETE CASCADE, run TEXT, host TEXT, pid INTEGER, tool
 TEXT, started INTEGER NOT NULL, ended INTEGER, outcome TEXT CHECK (outcome IN
 ('completed', 'failed', 'abandoned')), digest TEXT, status INTEGER, class
 TEXT, code TEXT, error TEXT);
CREATE INDEX attempt_unit ON attempt (unit, run);
CREATE INDEX attempt_open ON attempt (run) WHERE ended IS NULL;
CREATE TABLE breaker ( host TEXT PRIMARY KEY, state TEXT NOT NULL CHECK (state
 IN  ('closed', 'open', 'half_open')), failures INTEGER NOT NULL DEFAULT 0,
 recent TEXT NOT NULL DEFAULT '', opened INTEGER, until INTEGER, wait INTEGER,
 probe_host TEXT, probe_pid INTEGER, probe_until INTEGER, error TEXT, updated
 INTEGER NOT NULL);
