//! The PostgreSQL that the tests of one program share.

#![allow(dead_code)] // Each test program uses its own part.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use naulon_cluster::{Cluster, Place};

/// The address of a new, empty database.
pub fn database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("bank_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    cluster().database(&name).expect("a database")
}

/// The address of the cluster's own database.
pub fn administration() -> String {
    cluster().url(Place::One, "postgres")
}

/// Runs statements that answer nothing.
pub fn run(url: &str, sql: &str) {
    naulon_cluster::run(url, sql).unwrap_or_else(|error| panic!("{error}"));
}

/// The first column of what a query answers, as texts.
pub fn texts(url: &str, sql: &str) -> Vec<String> {
    naulon_cluster::texts(url, sql).unwrap_or_else(|error| panic!("{error}"))
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::begin().expect("PostgreSQL runs"))
}
