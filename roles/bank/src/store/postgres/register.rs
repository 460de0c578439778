//! The register in the PostgreSQL database: of the processes that append at the same time, the head's row lets one.

use std::ops::Range;

use naulon_durable::StoreError;
use naulon_exchange::Record;
use naulon_exchange::register::RegisterEntry;
use naulon_statement::{Digest, Timestamp};
use naulon_tlog::Hash;
use tokio_postgres::types::ToSql;

use super::super::Written;
use super::super::register::{
    DayKey, DeliveredPlace, RegisterAppending, RegisterRows, RegisterStore, StoredChunk, entry, item_bytes, items,
    side_number,
};
use super::failure::Failure;
use super::rows::{self, column, millis, parsed};
use super::schema::Sql;
use super::session::{Session, step};
use super::{PostgresStore, ask};

impl RegisterStore for PostgresStore {
    fn register(&mut self, from: u64) -> Result<RegisterRows, StoreError> {
        self.link.run(async |session| {
            let [_, head, found, _] = session
                .flight([
                    step(Sql::BeginRead, vec![]),
                    step(Sql::RegisterHead, vec![]),
                    step(Sql::RegisterFrom, vec![Box::new(number(from))]),
                    step(Sql::End, vec![]),
                ])
                .await?;
            let head = head.first().ok_or(StoreError::Corrupt)?;
            let row = |row| Ok((entry(column(row, 0)?)?, column::<Option<Vec<u8>>>(row, 1)?));
            Ok(RegisterRows {
                size: parsed(u64::try_from(column::<i64>(head, 0)?))?,
                checkpoint: column(head, 1)?,
                entries: found.iter().map(row).collect::<Result<_, StoreError>>()?,
            })
        })
    }

    fn register_statement(&mut self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.link.run(async |session| {
            let rows = ask(session, Sql::RegisterStatement, vec![Box::new(number(index))]).await?;
            Ok(rows.first().map(|row| column(row, 0)).transpose()?)
        })
    }

    fn append_register(&mut self, appending: &RegisterAppending) -> Result<Written, StoreError> {
        self.link.run(async |session| append(session, appending).await)
    }

    fn keep_cosigned(&mut self, size: u64, note: &str) -> Result<Written, StoreError> {
        self.link.run(async |session| {
            let kept = ask(session, Sql::KeepCosigned, vec![Box::new(number(size)), Box::new(note)]).await?;
            Ok(if kept.is_empty() { Written::Lost } else { Written::Yes })
        })
    }

    fn delivered(
        &mut self,
        within: Range<Timestamp>,
        after: Option<&DeliveredPlace>,
        limit: usize,
    ) -> Result<Vec<(DeliveredPlace, Record)>, StoreError> {
        self.link.run(async |session| {
            let mut found = Vec::new();
            for settled in [false, true] {
                if found.len() == limit || after.is_some_and(|after| after.settled && !settled) {
                    continue;
                }
                // An empty key comes before all others.
                let after = after.filter(|after| after.settled == settled);
                let (time, key) = after.map_or((within.start, &[][..]), |after| (after.time, &after.key[..]));
                let sql = if settled { Sql::DeliveredBySettling } else { Sql::DeliveredAtOnce };
                let room = i64::try_from(limit - found.len()).unwrap_or(i64::MAX);
                let values: Vec<Box<dyn ToSql + Sync>> =
                    vec![Box::new(millis(time)), Box::new(key), Box::new(millis(within.end)), Box::new(room)];
                for row in ask(session, sql, values).await? {
                    let (time, key) = (rows::timestamp(&row, 5)?, column::<&[u8]>(&row, 6)?.to_vec());
                    found.push((DeliveredPlace { settled, time, key }, rows::record(&row)?));
                }
            }
            Ok(found)
        })
    }

    fn keep_chunks(&mut self, chunks: &[StoredChunk]) -> Result<(), StoreError> {
        let each = || chunks.iter();
        let first = |stored: &StoredChunk| stored.chunk.items.first().map(|item| item.0.to_vec());
        self.link.run(async |session| {
            let values: Vec<Box<dyn ToSql + Sync>> = vec![
                Box::new(each().map(|stored| number(stored.key.day.0)).collect::<Vec<_>>()),
                Box::new(each().map(|stored| &stored.key.brand.0[..]).collect::<Vec<_>>()),
                Box::new(each().map(|stored| i16::from(side_number(stored.key.side))).collect::<Vec<_>>()),
                Box::new(each().map(|stored| number(stored.number)).collect::<Vec<_>>()),
                Box::new(each().map(first).collect::<Vec<_>>()),
                Box::new(each().map(|stored| &stored.chunk.root[..]).collect::<Vec<_>>()),
                Box::new(each().map(|stored| item_bytes(&stored.chunk)).collect::<Vec<_>>()),
            ];
            ask(session, Sql::KeepChunks, values).await.map(drop)
        })
    }

    fn chunk_roots(&mut self, key: &DayKey) -> Result<Vec<Hash>, StoreError> {
        self.link.run(async |session| {
            let rows = ask(session, Sql::ChunkRoots, of(key)).await?;
            Ok(rows.iter().map(|row| Ok(rows::digest(row, 0)?.0)).collect::<Result<_, StoreError>>()?)
        })
    }

    fn chunk(&mut self, key: &DayKey, chunk: u64) -> Result<Option<Vec<Digest>>, StoreError> {
        self.link.run(async |session| {
            let mut values = of(key);
            values.push(Box::new(number(chunk)));
            let rows = ask(session, Sql::Chunk, values).await?;
            Ok(rows.first().map(|row| items(column(row, 0)?)).transpose()?)
        })
    }

    fn chunk_of(&mut self, key: &DayKey, item: &Digest) -> Result<Option<u64>, StoreError> {
        self.link.run(async |session| {
            let mut values = of(key);
            values.push(Box::new(&item.0[..]));
            let rows = ask(session, Sql::ChunkOf, values).await?;
            Ok(rows.first().map(|row| parsed(u64::try_from(column::<i64>(row, 0)?))).transpose()?)
        })
    }
}

async fn append(session: &Session, appending: &RegisterAppending) -> Result<Written, Failure> {
    let size = appending.before + appending.statements.len() as u64;
    let moving: Vec<Box<dyn ToSql + Sync + '_>> =
        vec![Box::new(number(appending.before)), Box::new(number(size)), Box::new(appending.checkpoint.as_str())];
    let [_, moved] = session.flight([step(Sql::Begin, vec![]), step(Sql::MoveHead, moving)]).await?;
    if moved.is_empty() {
        ask(session, Sql::Rollback, vec![]).await?;
        return Ok(Written::Lost);
    }
    let each = || appending.statements.iter();
    let entry = |(kind, statement): &(_, Vec<u8>)| RegisterEntry::new(*kind, statement).as_bytes().to_vec();
    let values: Vec<Box<dyn ToSql + Sync + '_>> = vec![
        Box::new((appending.before..size).map(number).collect::<Vec<_>>()),
        Box::new(each().map(entry).collect::<Vec<_>>()),
        Box::new(each().map(|(_, statement)| &statement[..]).collect::<Vec<_>>()),
    ];
    session.flight([step(Sql::AppendRegister, values)]).await?;
    match session.commit().await {
        Ok(()) => Ok(Written::Yes),
        Err(Failure::Gone(error)) => {
            tracing::warn!(%error, "the connection was lost as the register was appended to; it is read again");
            session.abandon();
            Ok(Written::Unknown)
        }
        Err(failure) => Err(failure),
    }
}

fn of(key: &DayKey) -> Vec<Box<dyn ToSql + Sync + '_>> {
    vec![Box::new(number(key.day.0)), Box::new(&key.brand.0[..]), Box::new(i16::from(side_number(key.side)))]
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
