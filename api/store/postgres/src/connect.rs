//! From a URL to connections.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};
use store::StoreError;

use super::{failed, within};

/// How long a connection may take to be made or to become free.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a write waits for the lock of another one, in milliseconds.
const LOCK_TIMEOUT_MS: &str = "5000";
/// How long a statement may run, in milliseconds: a million entries take some seconds.
const STATEMENT_TIMEOUT_MS: &str = "60000";

/// Understands the URL of a database without connecting.
///
/// # Errors
/// Says what is wrong with it. The text never repeats a password.
pub fn check_url(url: &str) -> Result<(), String> {
    options(url).map(drop)
}

/// Parameters of a URL. The driver passes over what it does not know, so that `sslmod=verify-full`
/// would be a connection in the clear.
const PARAMETERS: [&str; 9] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "dbname", "user", "password"];

fn check_parameters(url: &str) -> Result<(), String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if !PARAMETERS.contains(&name) {
            let known = PARAMETERS.join(", ");
            return Err(format!("there is no parameter {name:?}; the parameters are {known}"));
        }
    }
    Ok(())
}

/// What the driver and the server are told.
///
/// # Errors
/// As [`check_url`].
pub(crate) fn options(url: &str) -> Result<PgConnectOptions, String> {
    check_parameters(url)?;
    let options = PgConnectOptions::from_str(url).map_err(|why| match why {
        // The driver's words about anything else may hold parts of the URL.
        sqlx::Error::Configuration(why) => why.to_string(),
        _ => "this is not a PostgreSQL URL".to_owned(),
    })?;
    Ok(options.application_name("nwaf-api").options([
        ("lock_timeout", LOCK_TIMEOUT_MS),
        ("statement_timeout", STATEMENT_TIMEOUT_MS),
        ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT_MS),
    ]))
}

/// Connects once, and says why where that fails: a pool asks again and again, and says in the
/// end that it took too long.
pub(crate) async fn probe(options: &PgConnectOptions) -> Result<(), StoreError> {
    let asked = async {
        let connection = PgConnection::connect_with(options).await.map_err(failed)?;
        connection.close().await.map_err(failed)
    };
    within(CONNECT_TIMEOUT, asked).await
}

/// At most `most` connections, of which the first is made now.
pub(crate) async fn pool(most: u32, options: PgConnectOptions) -> Result<PgPool, StoreError> {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(failed)
}
