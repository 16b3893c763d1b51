//! The document of the API, as it is committed: a change of the API shows in review.

use std::path::Path;

use super::support::Api;

#[tokio::test]
async fn the_committed_document_is_the_one_that_is_served() {
    let api = Api::start().await;
    let served = api.get("/nw-api/v2/openapi.json", "").await.value();
    let served = serde_json::to_string_pretty(&served).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("NWAF_BLESS").is_some() {
        std::fs::write(&path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == served,
        "docs/openapi.json is not current; NWAF_BLESS=1 cargo test -p nwaf-api openapi writes it"
    );
}
