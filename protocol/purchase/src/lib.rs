//! Anonymous atomic purchase (AAT): statements, buyer, merchant, log, evidence.
