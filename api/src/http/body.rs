//! Reading bodies without letting strangers fill the memory.
//!
//! A body of up to [`READ_BODY_MAX`] bytes is read in any case. What a client
//! without a key in header or query sends beyond that takes part of one [`Room`] for
//! all of them, as it arrives; an announced length takes nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// Largest body of a call that only reads, in bytes: a key and two words.
pub const READ_BODY_MAX: usize = 64 << 10;
/// What one permit of a [`Room`] stands for, in bytes.
const UNIT: usize = 64 << 10;
/// Bytes that are read to be polite, and thrown away: a client that is cut off while
/// it sends sees a broken connection instead of the answer.
const DISCARDED_MAX: usize = 4 << 20;
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Room for large bodies: twice the largest one.
#[derive(Debug)]
pub struct Room {
    free: Arc<Semaphore>,
    units: AtomicUsize,
}

impl Room {
    /// Room for bodies of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let units = units(limit);
        Self { free: Arc::new(Semaphore::new(units)), units: AtomicUsize::new(units) }
    }

    /// Another limit. Room is never taken away.
    pub fn grow(&self, limit: usize) {
        let wanted = units(limit);
        let had = self.units.fetch_max(wanted, Ordering::Relaxed);
        self.free.add_permits(wanted.saturating_sub(had));
    }

    fn take(&self, units: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_many_owned(u32::try_from(units).ok()?).ok()
    }
}

fn units(limit: usize) -> usize {
    2 * limit.div_ceil(UNIT)
}

/// The whole body, at most `limit` bytes, and what it holds of `room`.
///
/// # Errors
/// It is larger, breaks off, takes too long or finds no room.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    room: Option<&Room>,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ApiError> {
    expect_plain(headers)?;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    let asked_before = headers.contains_key(header::EXPECT);
    if announced > limit && (asked_before || announced - limit > DISCARDED_MAX) {
        return Err(ApiError::BodyTooLarge(limit));
    }
    tokio::time::timeout(BODY_TIMEOUT, collect(body, announced, limit, room))
        .await
        .unwrap_or(Err(ApiError::BodyIncomplete))
}

/// # Errors
/// The body is compressed. Nothing is unpacked here: what it would become has no limit.
fn expect_plain(headers: &HeaderMap) -> Result<(), ApiError> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let coding = String::from_utf8_lossy(value.as_bytes());
        if !matches!(&*coding.trim().to_ascii_lowercase(), "" | "identity") {
            return Err(ApiError::ContentEncoding(coding.into_owned()));
        }
    }
    Ok(())
}

async fn collect(
    mut body: Body,
    announced: usize,
    limit: usize,
    room: Option<&Room>,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ApiError> {
    let mut bytes = Vec::with_capacity(announced.min(limit).min(READ_BODY_MAX));
    let mut held: Option<OwnedSemaphorePermit> = None;
    while let Some(data) = next(&mut body).await? {
        let total = bytes.len() + data.len();
        if total > limit {
            drop((bytes, held));
            discard(body).await;
            return Err(ApiError::BodyTooLarge(limit));
        }
        if let Some(room) = room {
            let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let needs = total.saturating_sub(READ_BODY_MAX).div_ceil(UNIT);
            if needs > has {
                let Some(more) = room.take(needs - has) else {
                    drop((bytes, held));
                    discard(body).await;
                    return Err(ApiError::Overloaded);
                };
                match &mut held {
                    Some(held) => held.merge(more),
                    None => held = Some(more),
                }
            }
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, held))
}

/// `why`, once what the client sends nevertheless was read for a while: it might see a broken
/// connection instead of the answer.
pub async fn refused(headers: &HeaderMap, body: Body, why: ApiError) -> ApiError {
    // A client that asked before sending has sent nothing yet.
    if !headers.contains_key(header::EXPECT) {
        discard(body).await;
    }
    why
}

/// Reads on for a while without keeping anything.
async fn discard(mut body: Body) {
    let reading = async {
        let mut total = 0;
        while let Ok(Some(data)) = next(&mut body).await {
            total += data.len();
            if total > DISCARDED_MAX {
                break;
            }
        }
    };
    // The answer goes out in any case.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

async fn next(body: &mut Body) -> Result<Option<axum::body::Bytes>, ApiError> {
    match std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        None => Ok(None),
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(_)) => Err(ApiError::BodyIncomplete),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(room: &Room, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        let body = Body::from(vec![b'x'; bytes]);
        read(&HeaderMap::new(), body, 1 << 20, Some(room)).await.map(|(body, held)| {
            assert_eq!(body.len(), bytes);
            held
        })
    }

    #[tokio::test]
    async fn large_bodies_of_strangers_share_one_room() {
        let room = Room::new(1 << 20);
        let first = take(&room, 1 << 20).await.unwrap().unwrap();
        let second = take(&room, 1 << 20).await.unwrap().unwrap();
        assert_eq!(first.num_permits(), 15);
        // Small ones need none; for a large one there is not enough left.
        assert!(take(&room, READ_BODY_MAX).await.unwrap().is_none());
        assert!(matches!(take(&room, 1 << 20).await, Err(ApiError::Overloaded)));
        room.grow(2 << 20);
        drop(take(&room, 1 << 20).await.unwrap());
        drop((first, second));
        assert_eq!(room.free.available_permits(), units(2 << 20));
    }

    #[tokio::test]
    async fn too_much_is_too_much_whoever_sends_it() {
        let read = |bytes: usize| read_of(Body::from(vec![b'x'; bytes]));
        assert!(read(1 << 20).await.is_ok());
        assert!(matches!(read((1 << 20) + 1).await, Err(ApiError::BodyTooLarge(_))));
    }

    async fn read_of(body: Body) -> Result<(), ApiError> {
        read(&HeaderMap::new(), body, 1 << 20, None).await.map(drop)
    }
}
