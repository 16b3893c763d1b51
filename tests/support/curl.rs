//! The real `curl`, for the lines that people copy from the specification.

use std::process::Command;

use crate::api::KEY;
use crate::{Api, artifacts::project};

/// What a line of the specification came to.
#[derive(Debug)]
pub struct Outcome {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Runs a `curl` line of the specification as a shell would, against `api`.
///
/// Only host, port and key differ from what is printed there: the address in
/// front of `/nw-api/` or `/nw/` becomes the API's, the placeholder becomes the key.
///
/// # Panics
/// When the line is no curl line, or curl fails.
pub fn curl(api: &Api, line: &str) -> Outcome {
    let line = line.trim().trim_start_matches("# ");
    assert!(line.starts_with("curl "), "not a curl line: {line}");
    let mut line = line.to_owned();
    for host in ["http://api.example.com:8080/", "https://nemesida-security.com/"] {
        line = line.replace(host, &format!("http://{}/", api.address()));
    }
    // One sample of the specification has lost the second percent sign.
    for placeholder in ["%License key%", "%Identification token%", "%Identification token"] {
        line = line.replace(placeholder, KEY);
    }
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("{line} --silent --show-error --max-time 20 --write-out '\\n%{{http_code}}'"))
        .current_dir(project())
        .output()
        .expect("sh runs curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text
        .rsplit_once('\n')
        .unwrap_or_else(|| panic!("curl: {} in {line}", String::from_utf8_lossy(&output.stderr)));
    Outcome { status: status.parse().expect("a status code"), body: body.to_owned() }
}
