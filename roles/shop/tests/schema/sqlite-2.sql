PRAGMA application_id = 1852592968;
PRAGMA user_version = 2;
CREATE TABLE sale (
        number INTEGER PRIMARY KEY,
        payment BLOB NOT NULL,
        decision BLOB,
        against_log BLOB,
        settled INTEGER NOT NULL DEFAULT 0
    , over INTEGER) STRICT;
CREATE INDEX sale_under_way ON sale (number) WHERE settled = 0;
CREATE TABLE sale_id (id BLOB PRIMARY KEY, number INTEGER NOT NULL REFERENCES sale) STRICT, WITHOUT ROWID;
CREATE INDEX sale_over ON sale (over) WHERE over IS NOT NULL;
CREATE TABLE buyers_order (n BLOB PRIMARY KEY, valid_until INTEGER NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX buyers_order_valid ON buyers_order (valid_until);
