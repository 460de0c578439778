//! One stream, as a program sees it.

use std::sync::Arc;
use std::time::Instant;

use naulon_stream::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::passage::{Bell, Passage, StreamRefused};

/// How many bytes are moved between a program and its stream at once.
const PIECE: usize = 64 * 1024;

/// A stream that the exit has connected. Dropping it breaks it off.
pub struct OpenStream {
    passage: Arc<Passage>,
    bell: Arc<Bell>,
    stream: u32,
}

impl OpenStream {
    pub(crate) fn new(passage: Arc<Passage>, bell: Arc<Bell>, stream: u32) -> Self {
        OpenStream { passage, bell, stream }
    }

    /// Waits for the exit's answer.
    pub(crate) async fn answered(&self) -> Result<(), StreamRefused> {
        loop {
            let rung = self.bell.answer.notified();
            {
                let mut inside = self.passage.inside();
                if let Some(answer) = inside.answers.remove(&self.stream) {
                    return answer.map_err(StreamRefused::Exit);
                }
                if let Some(broken) = &inside.broken {
                    return Err(broken.clone().into());
                }
            }
            rung.await;
        }
    }

    /// Moves bytes between a program and the stream until both sides have ended, or one has broken off. A program is told of
    /// the difference: what was cut short does not look like the end.
    pub async fn carry(&self, program: &mut TcpStream) {
        let (mut from_program, mut to_program) = program.split();
        let upwards = async {
            let mut piece = vec![0; PIECE];
            loop {
                let room = self.room().await;
                let read = tokio::select! {
                    read = from_program.read(&mut piece[..room.min(PIECE)]), if room > 0 => read,
                    () = self.bell.cut.notified() => return,
                    else => return,
                };
                match read {
                    Ok(0) => return self.finish(),
                    Ok(len) => self.write(&piece[..len]),
                    Err(_) => return self.break_off(),
                }
            }
        };
        let downwards = async {
            let mut piece = Vec::with_capacity(PIECE);
            loop {
                self.read(&mut piece).await;
                if piece.is_empty() {
                    let is_whole = self.is_whole();
                    if is_whole {
                        // If the program is gone there is nobody to tell.
                        let _ = to_program.shutdown().await;
                    }
                    return is_whole;
                }
                if to_program.write_all(&piece).await.is_err() {
                    self.break_off();
                    return false;
                }
            }
        };
        let ((), is_whole) = tokio::join!(upwards, downwards);
        if !is_whole {
            // The program sees a connection that was reset; if that cannot be set, one that ended.
            let _ = program.set_zero_linger();
        }
    }

    fn write(&self, bytes: &[u8]) {
        // There was room, and nobody else writes: it takes all.
        self.passage.inside().session.end().write(self.stream, bytes);
        self.passage.out.notify_one();
    }

    fn finish(&self) {
        self.passage.inside().session.end().finish(self.stream);
        self.passage.out.notify_one();
    }

    fn break_off(&self) {
        self.passage.inside().session.end().reset(self.stream, Reason::Gone);
        self.bell.cut.notify_one();
        self.passage.out.notify_one();
    }

    /// Whether the bytes ended because the other side ended them.
    fn is_whole(&self) -> bool {
        let inside = self.passage.inside();
        inside.broken.is_none() && !inside.cut.contains(&self.stream)
    }

    /// How many bytes can be written; waits for some, and 0 means that the stream is over.
    async fn room(&self) -> usize {
        loop {
            let rung = self.bell.writable.notified();
            {
                let mut inside = self.passage.inside();
                if inside.broken.is_some() || !inside.session.end().is_alive(self.stream) {
                    return 0;
                }
                let room = inside.session.end().room_or_wait(self.stream);
                if room > 0 {
                    return room;
                }
            }
            rung.await;
        }
    }

    /// Waits for bytes, and moves them to `piece`; none at the end.
    async fn read(&self, piece: &mut Vec<u8>) {
        piece.clear();
        loop {
            let rung = self.bell.readable.notified();
            if self.take_received(piece) || !piece.is_empty() {
                return;
            }
            rung.await;
        }
    }
}

impl OpenStream {
    /// Moves what is there to `piece`, and says whether nothing can follow.
    fn take_received(&self, piece: &mut Vec<u8>) -> bool {
        let mut inside = self.passage.inside();
        let is_broken = inside.broken.is_some();
        let end = inside.session.end();
        while piece.len() < PIECE {
            let received = end.received(self.stream);
            let len = received.len().min(PIECE - piece.len());
            if len == 0 {
                break;
            }
            piece.extend_from_slice(&received[..len]);
            end.consume(self.stream, len);
        }
        let has_ended = is_broken || end.is_ended(self.stream);
        let is_due = inside.session.has_blocks();
        drop(inside);
        if is_due {
            self.passage.out.notify_one();
        }
        has_ended
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut inside = self.passage.inside();
        inside.session.end().reset(self.stream, Reason::Gone);
        inside.forget(self.stream);
        inside.last_used = Instant::now();
        drop(inside);
        self.passage.out.notify_one();
    }
}
