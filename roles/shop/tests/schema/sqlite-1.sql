PRAGMA application_id = 1852592968;
PRAGMA user_version = 1;
CREATE TABLE sale (
        number INTEGER PRIMARY KEY,
        payment BLOB NOT NULL,
        decision BLOB,
        against_log BLOB,
        settled INTEGER NOT NULL DEFAULT 0
    ) STRICT;
CREATE INDEX sale_under_way ON sale (number) WHERE settled = 0;
CREATE TABLE sale_id (id BLOB PRIMARY KEY, number INTEGER NOT NULL REFERENCES sale) STRICT, WITHOUT ROWID;
