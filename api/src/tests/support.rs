//! A router over a fresh database, with a key of every scope.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt as _;
use wire::v2::{Bundle, ErrorBody, Revision};

use crate::config::BODY_LIMIT_BYTES;
use crate::http::{App, Live, router};
use store::{KeyRow, Scope, Store as _, WafId};
use store_sqlite::{Mode, Sqlite};

use crate::key::Digest;
use crate::peers::Peers;
use crate::service::Service;

pub const ADMIN: &str = "admin-key-0123456789";
pub const NODE: &str = "node-key-0123456789";
pub const MLC: &str = "mlc-key-0123456789";
pub const READ: &str = "read-key-0123456789";
pub const LIVE: Live = Live { read_only: false, body_limit: BODY_LIMIT_BYTES };

/// A running API.
pub struct Api {
    pub router: Router,
    pub app: Arc<App>,
    pub stop: watch::Sender<bool>,
    pub directory: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Api {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory).await;
        for (name, scope, key) in [
            ("anna", Scope::Admin, ADMIN),
            ("n1", Scope::Node, NODE),
            ("m1", Scope::Mlc, MLC),
            ("eve", Scope::Read, READ),
        ] {
            let digest = Digest::of_key(key).into_string();
            store
                .add_key(
                    KeyRow { name: name.into(), waf: WafId::DEFAULT, scope, digest, created_ms: 1 },
                    store::Action::default(),
                )
                .await
                .unwrap();
        }
        // Tests count what they do, not what is done here.
        store.forget_actions(1, 10).await.unwrap();
        Self::over(directory, store, Peers::default())
    }

    /// One that waits for the answers of other servers.
    pub async fn start_beside_peers() -> Self {
        let Self { directory, .. } = Self::start().await;
        let store = open(&directory).await;
        Self::over(directory, store, Peers::expected())
    }

    fn over(directory: tempfile::TempDir, store: Sqlite, peers: Peers) -> Self {
        let (stop, stopped) = watch::channel(false);
        let app = App::new(Service::new(Arc::new(store)), Arc::new(peers), LIVE, stopped);
        let app = Arc::new(app);
        Self { router: router(Arc::clone(&app)), app, stop, directory }
    }

    /// The same database in a new process.
    pub async fn restart(self) -> Self {
        let Self { directory, .. } = self;
        let store = open(&directory).await;
        Self::over(directory, store, Peers::default())
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (status, headers, bytes) = self.bytes(request).await;
        Answer { status, headers, text: String::from_utf8(bytes).unwrap() }
    }

    /// An answer that need not be text.
    pub async fn bytes(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, bytes.to_vec())
    }

    /// A JSON body with its own content type.
    pub async fn json(&self, path: &str, body: &str) -> Answer {
        self.post(path, "application/json", body).await
    }

    /// What `curl --data` sends.
    pub async fn form(&self, path: &str, body: &str) -> Answer {
        self.post(path, "application/x-www-form-urlencoded", body).await
    }

    pub async fn post(&self, path: &str, label: &str, body: &str) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, label);
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub async fn get(&self, path: &str, key: &str) -> Answer {
        self.method(Method::GET, path, key).await
    }

    pub async fn method(&self, method: Method, path: &str, key: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A write by the admin: `{"key": ..., REST}`; must succeed.
    pub async fn write(&self, call: &str, rest: &str) -> Value {
        let answer = self.try_write(call, rest).await;
        assert_eq!(answer.status, 200, "{rest}: {}", answer.text);
        answer.value()
    }

    pub async fn try_write(&self, call: &str, rest: &str) -> Answer {
        let body = format!(r#"{{"key": "{ADMIN}", {rest}}}"#);
        self.json(&format!("/nw-api/{call}"), &body).await
    }

    pub async fn bundle(&self) -> Bundle {
        let answer = self.get("/nw-api/v2/bundle", NODE).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let bundle: Bundle = serde_json::from_str(&answer.text).unwrap();
        bundle.to_policy().unwrap();
        bundle
    }

    pub async fn revision(&self) -> Revision {
        self.bundle().await.revision
    }

    /// A statement on the database file itself, past the program.
    pub async fn tamper(&self, statement: &'static str) {
        let path = self.directory.path().join("s.db");
        let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await;
        sqlx::raw_sql(statement).execute(&pool.unwrap()).await.unwrap();
    }
}

async fn open(directory: &tempfile::TempDir) -> Sqlite {
    let path = directory.path().join("s.db");
    Sqlite::open(&path, Mode::ReadWrite { now_ms: 1_000 }).await.unwrap()
}

impl Answer {
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("{why}: {}", self.text))
    }

    /// The error, whose form is checked.
    pub fn error(&self) -> ErrorBody {
        let error: ErrorBody = serde_json::from_str(&self.text)
            .unwrap_or_else(|why| panic!("{why}: {} {}", self.status, self.text));
        assert_eq!(error.status, "error");
        assert_eq!(self.header("x-request-id"), error.request_id);
        error
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    /// Checks status and code and returns the message.
    pub fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let error = self.error();
        assert_eq!(error.code, code, "{}", error.message);
        error.message
    }
}
