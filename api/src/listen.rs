//! Connections: how many, how long without a request, and their end.
//!
//! Whoever has not shown a key must cost little: the headers of a request have
//! [`HEADERS`] to arrive, which is also the longest a connection idles between two
//! requests, and there are at most [`CONNECTIONS_MAX`] connections; further ones
//! wait in the system's queue. Bodies have limits of their own, in `http::call`, and answers
//! that nobody takes in `stall`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::stall::Stall;
use crate::tls::Tls;

/// Longest time for the headers of a request, from the end of the request before.
pub const HEADERS: Duration = Duration::from_secs(10);
/// Connections of one listener at the same time. A waiting node has two.
pub const CONNECTIONS_MAX: usize = 8_192;
/// Pause after a connection could not be accepted, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Allows this process as many descriptors as the system lets it have: the usual
/// limit is below [`CONNECTIONS_MAX`].
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(why) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(error = %why, "the limit of open files stays as it is");
    }
}

/// Serves until `stop` turns true and the requests of that moment are answered.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    serve_at_most(CONNECTIONS_MAX, listener, tls, router, stop).await;
}

async fn serve_at_most(
    most: usize,
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(most));
    loop {
        let accepted = tokio::select! {
            // A sender that is gone means the same.
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((place, stream, address)) = accepted else { continue };
        let (router, stop) = (router.clone(), stop.clone());
        let tls = tls.as_ref().map(Tls::current);
        tokio::spawn(async move {
            // Answers are written at once and as a whole.
            let _ = stream.set_nodelay(true);
            match tls {
                None => connection(stream, address, router, stop).await,
                Some(tls) => {
                    if let Some(stream) = shake_hands(tls, stream, address).await {
                        connection(stream, address, router, stop).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    // Every place is free once the last connection has ended.
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::sync::OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((place, stream, address)),
        Err(why) => {
            tracing::warn!(error = %why, "a connection was not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// The encrypted connection; a handshake has as long as the headers of a request.
async fn shake_hands(
    tls: Arc<ServerConfig>,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<TlsStream<TcpStream>> {
    match tokio::time::timeout(HEADERS, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(why)) => {
            tracing::debug!(client = %address, error = %why, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|e| match e {})) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Stall::new(stream)), service));
    let stopping = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(why) = ended {
        tracing::debug!(client = %address, error = %why, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    async fn start(most: usize) -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let router = Router::new()
            .route("/", get(async || "fine"))
            .route("/slow", get(async || tokio::time::sleep(HEADERS * 3).await));
        (address, stop, tokio::spawn(serve_at_most(most, listener, None, router, stopped)))
    }

    async fn until_closed(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    }

    // The clock is virtual: it jumps to the next timer whenever nothing else happens.
    #[tokio::test(start_paused = true)]
    async fn who_sends_nothing_half_a_head_or_no_further_request_is_let_go() {
        let (address, _stop, _serving) = start(8).await;
        for sent in [&b""[..], &REQUEST[..20]] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent).await.unwrap();
            assert!(!until_closed(stream).await.contains("fine"));
        }
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(REQUEST).await.unwrap();
        assert!(until_closed(idle).await.ends_with("fine"));
        // A slow answer is none of these.
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(until_closed(slow).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connections_keep_others_out_for_a_while_only() {
        let (address, _stop, _serving) = start(2).await;
        let _silent = [TcpStream::connect(address).await, TcpStream::connect(address).await];
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        assert!(until_closed(stream).await.ends_with("fine"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_answers_and_not_for_idlers() {
        let (address, stop, serving) = start(8).await;
        let idle = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.send(true).unwrap();
        assert_eq!(until_closed(idle).await, "");
        assert!(!serving.is_finished());
        assert!(until_closed(slow).await.starts_with("HTTP/1.1 200"));
        serving.await.unwrap();
    }
}
