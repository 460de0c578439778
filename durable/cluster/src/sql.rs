//! Statements on a connection of their own, for whoever is no async program.

use tokio_postgres::{Client, NoTls};

use crate::ClusterError;

/// Names without a schema are those of the bank's.
const IN_THE_BANKS_SCHEMA: &str = "options=-csearch_path%3Dnaulon_bank";

/// Runs statements that answer nothing.
pub fn run(url: &str, sql: &str) -> Result<(), ClusterError> {
    on(url, sql, async |client| client.batch_execute(sql).await)
}

/// The first column of what a query answers, as texts.
pub fn texts(url: &str, sql: &str) -> Result<Vec<String>, ClusterError> {
    on(url, sql, async |client| client.query(sql, &[]).await?.iter().map(|row| row.try_get(0)).collect())
}

fn on<T>(
    url: &str,
    sql: &str,
    ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, ClusterError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&format!("{url}&{IN_THE_BANKS_SCHEMA}"), NoTls).await?;
        let connection = tokio::spawn(connection);
        let answer = ask(&client).await;
        drop(client);
        // It has ended with its client; how, the answer tells.
        let _ = connection.await;
        answer
    });
    asked.map_err(|cause| ClusterError::Statement { statement: sql.to_owned(), cause })
}
