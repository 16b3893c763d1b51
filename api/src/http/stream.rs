//! Bodies that are made while they are sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// Pieces that are made ahead of who reads them.
const AHEAD: usize = 4;
/// Bytes from which a piece is sent.
const PIECE: usize = 64 << 10;

struct Pieces(mpsc::Receiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// The end that is written to. The body ends when it is dropped.
pub struct Writer {
    pieces: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

/// Nobody reads any more.
#[derive(Debug)]
pub struct Gone;

/// A body and its other end.
pub fn body() -> (Writer, Body) {
    let (pieces, read) = mpsc::channel(AHEAD);
    (Writer { pieces, buffer: Vec::new() }, Body::new(Pieces(read)))
}

impl Writer {
    /// What is written here is sent with the next call of [`Writer::pass_on`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Sends what was written, if it is worth it.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub async fn pass_on(&mut self) -> Result<(), Gone> {
        if self.buffer.len() < PIECE { Ok(()) } else { self.flush().await }
    }

    /// Sends what was written.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        self.pieces.send(piece).await.map_err(|_| Gone)
    }

    /// Once nobody reads any more.
    pub async fn gone(&self) {
        self.pieces.closed().await;
    }
}
