//! The names of the settings of behavioural analysis.

use std::fmt;
use std::str::FromStr;

use crate::Invalid;

/// The name of a setting of behavioural analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MlcKey {
    /// `main__ai_extra`
    AiExtra,
    /// `ddos__enable`
    DdosEnable,
    /// `ddos__wl_ip`
    DdosWlIp,
    /// `ddos__wl_url`
    DdosWlUrl,
    /// `ddos__interval`
    DdosInterval,
    /// `ddos__latest_only`
    DdosLatestOnly,
    /// `ddos__send_possible`
    DdosSendPossible,
    /// `brute__enable`
    BruteEnable,
    /// `brute__wl_host`
    BruteWlHost,
    /// `brute__interval`
    BruteInterval,
    /// `brute__max_val`
    BruteMaxVal,
    /// `brute__brute_detect`
    BruteBruteDetect,
    /// `brute__flood_detect`
    BruteFloodDetect,
    /// `brute__latest_only`
    BruteLatestOnly,
    /// `brute__send_possible`
    BruteSendPossible,
}

/// What the specification's sample writes for `brute__max_val`.
const MISPRINT: &str = "brute__mav_val";

impl MlcKey {
    /// Every key, in the order of the specification's table.
    pub const ALL: [Self; 15] = [
        Self::AiExtra,
        Self::DdosEnable,
        Self::DdosWlIp,
        Self::DdosWlUrl,
        Self::DdosInterval,
        Self::DdosLatestOnly,
        Self::DdosSendPossible,
        Self::BruteEnable,
        Self::BruteWlHost,
        Self::BruteInterval,
        Self::BruteMaxVal,
        Self::BruteBruteDetect,
        Self::BruteFloodDetect,
        Self::BruteLatestOnly,
        Self::BruteSendPossible,
    ];

    /// The name users write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AiExtra => "main__ai_extra",
            Self::DdosEnable => "ddos__enable",
            Self::DdosWlIp => "ddos__wl_ip",
            Self::DdosWlUrl => "ddos__wl_url",
            Self::DdosInterval => "ddos__interval",
            Self::DdosLatestOnly => "ddos__latest_only",
            Self::DdosSendPossible => "ddos__send_possible",
            Self::BruteEnable => "brute__enable",
            Self::BruteWlHost => "brute__wl_host",
            Self::BruteInterval => "brute__interval",
            Self::BruteMaxVal => "brute__max_val",
            Self::BruteBruteDetect => "brute__brute_detect",
            Self::BruteFloodDetect => "brute__flood_detect",
            Self::BruteLatestOnly => "brute__latest_only",
            Self::BruteSendPossible => "brute__send_possible",
        }
    }

    /// The setting of a name that may lack its `brute__`, `ddos__` or `main__`, as in the
    /// specification's `"del": "brute_detect"`.
    ///
    /// # Errors
    /// No setting has the name, or several have, which are named then.
    pub fn of_short_name(text: &str) -> Result<Self, Invalid> {
        if let Ok(key) = text.parse() {
            return Ok(key);
        }
        let is_short = |name: &str| name.split_once("__").is_some_and(|(_, short)| short == text);
        let keys: Vec<Self> = Self::ALL.into_iter().filter(|key| is_short(key.name())).collect();
        match keys.as_slice() {
            [key] => Ok(*key),
            [] if is_short(MISPRINT) => Ok(Self::BruteMaxVal),
            [] => Err(unknown(text)),
            several => {
                let names: Vec<_> = several.iter().map(|key| key.name()).collect();
                let reason = format!("the name may mean {}", names.join(" or "));
                Err(Invalid::new(text, text, reason, "write the whole name"))
            }
        }
    }
}

fn unknown(text: &str) -> Invalid {
    let names: Vec<_> = MlcKey::ALL.iter().map(|key| key.name()).collect();
    let remedy = format!("the settings are {}", names.join(", "));
    Invalid::new(text, text, "there is no such setting", remedy)
}

impl fmt::Display for MlcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MlcKey {
    type Err = Invalid;

    /// The whole name; the specification's misprint `brute__mav_val` is `brute__max_val`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == MISPRINT {
            return Ok(Self::BruteMaxVal);
        }
        Self::ALL.into_iter().find(|key| key.name() == text).ok_or_else(|| unknown(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_taken_where_they_mean_one_setting() {
        for (short, key) in [
            ("brute_detect", MlcKey::BruteBruteDetect),
            ("flood_detect", MlcKey::BruteFloodDetect),
            ("max_val", MlcKey::BruteMaxVal),
            ("mav_val", MlcKey::BruteMaxVal),
            ("brute__mav_val", MlcKey::BruteMaxVal),
            ("wl_host", MlcKey::BruteWlHost),
            ("ai_extra", MlcKey::AiExtra),
        ] {
            assert_eq!(MlcKey::of_short_name(short), Ok(key), "{short}");
        }
        for (short, names) in [
            ("interval", ["ddos__interval", "brute__interval"]),
            ("enable", ["ddos__enable", "brute__enable"]),
            ("latest_only", ["ddos__latest_only", "brute__latest_only"]),
        ] {
            let why = MlcKey::of_short_name(short).unwrap_err();
            assert!(names.iter().all(|name| why.reason.contains(name)), "{why}");
        }
        assert!(MlcKey::of_short_name("").unwrap_err().remedy.contains("brute__max_val"));
    }

    #[test]
    fn whole_names_are_names() {
        for key in MlcKey::ALL {
            assert_eq!(key.name().parse(), Ok(key));
            assert_eq!(MlcKey::of_short_name(key.name()), Ok(key));
        }
        assert!("brute_detect".parse::<MlcKey>().is_err());
    }
}
