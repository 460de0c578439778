PRAGMA application_id = 1852591448;
PRAGMA user_version = 1;
CREATE TABLE fare (
        number INTEGER PRIMARY KEY,
        body BLOB NOT NULL,
        funding BLOB NOT NULL,
        front INTEGER NOT NULL,
        front_tick BLOB NOT NULL,
        earned INTEGER NOT NULL,
        cashed INTEGER NOT NULL,
        cashed_tick BLOB NOT NULL
    ) STRICT;
CREATE TABLE fare_id (
        commitment BLOB PRIMARY KEY,
        number INTEGER NOT NULL REFERENCES fare
    ) STRICT, WITHOUT ROWID;
CREATE TABLE earned (
        bank BLOB NOT NULL,
        currency TEXT NOT NULL,
        ticks INTEGER NOT NULL,
        micros INTEGER NOT NULL,
        PRIMARY KEY (bank, currency)
    ) STRICT, WITHOUT ROWID;
