//! Behavioural models and their training: what the calls ask for, and the answers.
//!
//! The vendor never published the shapes of these answers; these are ours: JSON objects with
//! `"status": "success"`, the same in v1 and v2.

use policy::TrainingState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::spaced_json;
use super::fields::{Fields, Malformed, parse_json};
use super::lenient::CommaList;
use super::read::{AnswerError, shorten};

/// `set_training_uri`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingWrite {
    /// Host patterns, each of which names the listed virtual hosts it covers; at least one.
    pub vhosts: Vec<String>,
    /// Days.
    pub duration: Option<u64>,
    /// `Some(false)` begins, `Some(true)` ends. One of both fields is given.
    pub complete: Option<bool>,
}

/// `del_models_uri` and `rep_models_uri`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelWrite {
    /// Forget the model of a virtual host.
    Delete(String),
    /// Give a virtual host the model of another.
    Copy {
        /// Whose model.
        src: String,
        /// For whom.
        dst: String,
    },
}

/// One model of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelLine {
    /// The virtual host.
    pub vhost: String,
    /// The generation that stored it; larger than that of every model the host had before.
    pub version: u64,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
    /// Name of the key that stored or copied it.
    pub author: String,
    /// When, RFC 3339.
    pub updated: String,
}

/// The training of one virtual host in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingLine {
    /// The virtual host.
    pub vhost: String,
    /// `idle`, `training`, `complete` or `stopped`.
    #[serde(with = "state")]
    #[schema(value_type = String)]
    pub state: TrainingState,
    /// Days for which requests are collected.
    pub duration: u32,
    /// When it was begun last, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When collecting ends at the latest, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
    /// Per cent.
    pub progress: u8,
    /// Requests collected.
    pub samples: u64,
}

/// The answer of `get_models_list_uri`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelsAnswer {
    /// Always `success`.
    pub status: String,
    /// The models, by name of the host.
    pub models: Vec<ModelLine>,
}

/// The answer of `get_training_uri`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingAnswer {
    /// Always `success`.
    pub status: String,
    /// The trainings of listed virtual hosts, by name.
    pub training: Vec<TrainingLine>,
}

/// A report of `nwaf-mlc` about a training (`POST v2/training/report`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingReport {
    /// The virtual host, as listed.
    pub vhost: String,
    /// Per cent, 0-100; 100 completes the training.
    pub progress: u8,
    /// Requests collected.
    pub samples: u64,
}

const VHOST: &str = "vhost";

impl TrainingWrite {
    /// Reads a request.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(fields: &Fields) -> Result<Self, Malformed> {
        fields.expect_parameters(&[VHOST, "duration", "complete"])?;
        let vhosts = vhosts(fields)?;
        if vhosts.is_empty() {
            let remedy = "add vhost=example.com, or a pattern that covers listed hosts";
            return Err(Malformed::field(VHOST, "", "no virtual host is named", remedy));
        }
        if fields.duration.is_none() && fields.complete.is_none() {
            let remedy = "add duration=DAYS, complete=no (begin), complete=yes (stop), or both";
            let reason = "neither is given, so there is nothing to set";
            return Err(Malformed::field("duration, complete", "", reason, remedy));
        }
        Ok(Self { vhosts, duration: fields.duration, complete: fields.complete })
    }

    /// Reads whom a `get_training_uri` asks about; empty for all.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse_query(fields: &Fields) -> Result<Vec<String>, Malformed> {
        fields.expect_parameters(&[VHOST])?;
        vhosts(fields)
    }
}

impl ModelWrite {
    /// Reads a `del_models_uri`.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse_delete(fields: &Fields) -> Result<Self, Malformed> {
        fields.expect_parameters(&[VHOST])?;
        match <[String; 1]>::try_from(vhosts(fields)?) {
            Ok([vhost]) => Ok(Self::Delete(vhost)),
            Err(several) => {
                let remedy = "add vhost=example.com, one at a time";
                let reason = "not one virtual host is named";
                Err(Malformed::field(VHOST, &several.join(", "), reason, remedy))
            }
        }
    }

    /// Reads a `rep_models_uri`.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse_copy(fields: &Fields) -> Result<Self, Malformed> {
        fields.expect_parameters(&["src", "dst"])?;
        let one = |name, value: &Option<String>| match value.as_deref().map(str::trim) {
            Some(host) if !host.is_empty() => Ok(host.to_owned()),
            _ => {
                let remedy = "add src=example.com (whose model) and dst=example.org (for whom)";
                Err(Malformed::field(name, "", "no virtual host is named", remedy))
            }
        };
        Ok(Self::Copy { src: one("src", &fields.src)?, dst: one("dst", &fields.dst)? })
    }
}

fn vhosts(fields: &Fields) -> Result<Vec<String>, Malformed> {
    match &fields.vhost {
        Some(text) => Ok(parse_json::<CommaList>(VHOST, text)?.elements),
        None => Ok(Vec::new()),
    }
}

/// `get_models_list_uri`.
pub fn models_text(models: Vec<ModelLine>) -> String {
    spaced_json(&ModelsAnswer { status: "success".to_owned(), models })
}

/// The models of a `get_models_list_uri` answer.
///
/// # Errors
/// Anything else.
pub fn read_models(text: &str) -> Result<Vec<ModelLine>, AnswerError> {
    let answer: ModelsAnswer = read(text)?;
    success(&answer.status, text).map(|()| answer.models)
}

/// `get_training_uri`.
pub fn training_text(training: Vec<TrainingLine>) -> String {
    spaced_json(&TrainingAnswer { status: "success".to_owned(), training })
}

/// The trainings of a `get_training_uri` answer.
///
/// # Errors
/// Anything else.
pub fn read_training(text: &str) -> Result<Vec<TrainingLine>, AnswerError> {
    let answer: TrainingAnswer = read(text)?;
    success(&answer.status, text).map(|()| answer.training)
}

fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, AnswerError> {
    serde_json::from_str(text)
        .map_err(|why| AnswerError::Line { line: why.line(), reason: why.to_string() })
}

fn success(status: &str, text: &str) -> Result<(), AnswerError> {
    if status == "success" { Ok(()) } else { Err(AnswerError::Failed(shorten(text))) }
}

/// The words of [`TrainingState`].
mod state {
    use policy::TrainingState;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(state: &TrainingState, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(state.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TrainingState, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(text: &str) -> Fields {
        let mut fields = Fields::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').expect("a pair");
            fields.add_pair(name, value).unwrap();
        }
        fields
    }

    fn field_of(refused: Malformed) -> String {
        match refused {
            Malformed::Field(why) => why.field,
            other @ Malformed::Json { .. } => panic!("{other}"),
        }
    }

    #[test]
    fn the_samples_of_the_specification() {
        for (text, vhost, duration, complete) in [
            ("key=k&vhosts=example.com&duration=4", "example.com", Some(4), None),
            ("key=k&vhosts=*.example.com&complete=no", "*.example.com", None, Some(false)),
            ("key=k&vhost=*.example.com&complete=no", "*.example.com", None, Some(false)),
            (
                "key=k&vhosts=.example.com&duration=4&complete=no",
                ".example.com",
                Some(4),
                Some(false),
            ),
            ("key=k&vhosts=example.com&complete=yes", "example.com", None, Some(true)),
        ] {
            let expected = TrainingWrite { vhosts: vec![vhost.into()], duration, complete };
            assert_eq!(TrainingWrite::parse(&form(text)), Ok(expected), "{text}");
        }
        let query = TrainingWrite::parse_query(&form("key=k&vhost=example.com"));
        assert_eq!(query, Ok(vec!["example.com".into()]));
        assert_eq!(TrainingWrite::parse_query(&form("")), Ok(vec![]));
        assert_eq!(
            ModelWrite::parse_delete(&form("key=k&vhost=example.com")),
            Ok(ModelWrite::Delete("example.com".into()))
        );
        assert_eq!(
            ModelWrite::parse_copy(&form("key=k&src=example.com&dst=example.ru")),
            Ok(ModelWrite::Copy { src: "example.com".into(), dst: "example.ru".into() })
        );
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        for (text, field) in [
            ("duration=4", "vhost"),
            ("vhost=&duration=4", "vhost"),
            ("vhost=a.com", "duration, complete"),
            ("vhost=a.com&duration=4&src=b", "src"),
            ("vhost=a.com&duration=4&set={}", "set"),
        ] {
            assert_eq!(field_of(TrainingWrite::parse(&form(text)).unwrap_err()), field, "{text}");
        }
        for (text, field) in [("", "vhost"), ("vhost=a,b", "vhost"), ("vhost=a&dst=b", "dst")] {
            let refused = ModelWrite::parse_delete(&form(text)).unwrap_err();
            assert_eq!(field_of(refused), field, "{text}");
        }
        for (text, field) in [("src=a", "dst"), ("dst=a", "src"), ("src=a&dst=b&vhost=c", "vhost")]
        {
            let refused = ModelWrite::parse_copy(&form(text)).unwrap_err();
            assert_eq!(field_of(refused), field, "{text}");
        }
    }

    #[test]
    fn answers_say_success_as_clients_search_it() {
        assert_eq!(models_text(vec![]), r#"{"status": "success", "models": []}"#);
        assert_eq!(training_text(vec![]), r#"{"status": "success", "training": []}"#);
        let failed = r#"{"status": "error", "models": []}"#;
        assert!(matches!(read_models(failed), Err(AnswerError::Failed(_))));
        assert!(matches!(read_training("{"), Err(AnswerError::Line { .. })));
    }

    fn training() -> impl Strategy<Value = TrainingLine> {
        let state = proptest::sample::select(TrainingState::ALL.to_vec());
        let time = proptest::option::of("[0-9TZ:-]{1,20}");
        ("[a-z.*]{1,9}", state, 1_u32..366, time.clone(), time, 0_u8..=100, any::<u64>()).prop_map(
            |(vhost, state, duration, started, ends, progress, samples)| TrainingLine {
                vhost,
                state,
                duration,
                started,
                ends,
                progress,
                samples,
            },
        )
    }

    proptest! {
        #[test]
        fn trainings_survive_their_answer(lines in prop::collection::vec(training(), 0..4)) {
            prop_assert_eq!(read_training(&training_text(lines.clone())), Ok(lines));
        }

        #[test]
        fn models_survive_their_answer(
            models in prop::collection::vec(("[a-z.*]{1,9}", any::<u64>(), "[0-9a-f]{64}"), 0..4)
        ) {
            let models: Vec<_> = models
                .into_iter()
                .map(|(vhost, number, sha256)| ModelLine {
                    author: vhost.clone(),
                    updated: vhost.clone(),
                    vhost,
                    version: number,
                    size: number,
                    sha256,
                })
                .collect();
            prop_assert_eq!(read_models(&models_text(models.clone())), Ok(models));
        }
    }
}
