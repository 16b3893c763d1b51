//! Where the programs under test are.

use std::path::{Path, PathBuf};

/// The folder of the project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| project().join("target"), PathBuf::from)
}

fn present(path: PathBuf, remedy: &str) -> PathBuf {
    assert!(path.is_file(), "{} is missing; {remedy}", path.display());
    path
}

fn built(name: &str) -> PathBuf {
    let folder = std::env::var_os("NWAF_TEST_BIN_DIR")
        .map_or_else(|| target().join("release"), PathBuf::from);
    present(
        folder.join(name),
        "run `make test`, or `make build module` and name the folder in NWAF_TEST_BIN_DIR",
    )
}

/// A program of the workspace, for example `nwaf-api`.
///
/// # Panics
/// When it was not built; the message says how to.
pub fn program(name: &str) -> PathBuf {
    built(name)
}

/// The module.
///
/// # Panics
/// When it was not built; the message says how to.
pub fn module() -> PathBuf {
    built("libngx_http_nwaf_module.so")
}

/// The module built with the feature `fault-injection`.
///
/// # Panics
/// When it was not built; the message says how to.
pub fn faulty_module() -> PathBuf {
    let path = std::env::var_os("NWAF_TEST_FAULTY_MODULE").map_or_else(
        || target().join("fault-injection/debug/libngx_http_nwaf_module.so"),
        PathBuf::from,
    );
    present(path, "run `make test`, which builds it")
}

/// nginx: `NGINX_BINARY`, or the distribution's.
///
/// # Panics
/// When there is none.
pub fn nginx() -> PathBuf {
    let path = std::env::var_os("NGINX_BINARY").unwrap_or_else(|| "/usr/sbin/nginx".into());
    present(path.into(), "run scripts/install-packages or set NGINX_BINARY")
}

/// The folder of PostgreSQL's programs: `POSTGRES_BIN_DIR`, or the newest of the distribution.
///
/// # Panics
/// When there is none; the message says what to install.
pub fn postgres() -> PathBuf {
    let newest = || {
        std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .max()
            .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")))
    };
    let folder = std::env::var_os("POSTGRES_BIN_DIR").map(PathBuf::from).or_else(newest);
    let folder = folder.unwrap_or_else(|| "/usr/lib/postgresql/15/bin".into());
    let remedy = "run scripts/install-packages, or apt-get install postgresql-15, or name the folder \
                  of PostgreSQL's programs in POSTGRES_BIN_DIR";
    present(folder.join("postgres"), remedy);
    folder
}
