//! The settings of behavioural analysis, as `set_mlc_settings` names them.
//!
//! A value travels as a flag, a whole number or a list of texts ([`MlcValue`]) and means
//! what [`MlcSettings`] says. A setting that is not set has the value of
//! [`MlcSettings::default`]; nothing else decides what a missing one means.

mod key;
mod value;

use crate::limits::{MLC_INTERVAL_SECONDS, MLC_MAX_VAL};
use crate::{AddressRange, HostPattern, Invalid, UrlPrefix};

pub use key::MlcKey;
pub use value::{MlcInput, MlcKind, MlcValue};

/// What behavioural analysis does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MlcSettings {
    /// `main__ai_extra`: look again at requests that passed, and ban who sent attacks.
    /// Off: whatever was not blocked is part of the training. Default off, because it
    /// bans by a judgement that needs a trained model.
    pub ai_extra: bool,
    /// The `ddos__` settings.
    pub ddos: DdosSettings,
    /// The `brute__` settings.
    pub brute: BruteSettings,
}

/// How floods from many addresses are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DdosSettings {
    /// `ddos__enable`, default on.
    pub enable: bool,
    /// `ddos__wl_ip`: addresses that are never part of one.
    pub wl_ip: Vec<AddressRange>,
    /// `ddos__wl_url`: places where none is looked for.
    pub wl_url: Vec<UrlPrefix>,
    /// `ddos__interval`, seconds, [`MLC_INTERVAL_SECONDS`]; default 10.
    pub interval: u32,
    /// `ddos__latest_only`: report one blocked request an address; default on, so that an
    /// attack does not flood the record of attacks.
    pub latest_only: bool,
    /// `ddos__send_possible`: report what may be one, too; default on.
    pub send_possible: bool,
}

/// How brute force and floods from few addresses are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BruteSettings {
    /// `brute__enable`, default on; nothing is looked for before a place is named.
    pub enable: bool,
    /// `brute__wl_host`: hosts where none is looked for.
    pub wl_host: Vec<HostPattern>,
    /// `brute__interval`, seconds, [`MLC_INTERVAL_SECONDS`]; default 10.
    pub interval: u32,
    /// `brute__max_val`: requests within the interval at which their sender is banned,
    /// [`MLC_MAX_VAL`]; default 15.
    pub max_val: u32,
    /// `brute__brute_detect`: places where different requests are counted. Always with a path.
    pub brute_detect: Vec<UrlPrefix>,
    /// `brute__flood_detect`: places where equal requests are counted, too. Always with a path.
    pub flood_detect: Vec<UrlPrefix>,
    /// `brute__latest_only`, as for DDoS; default on.
    pub latest_only: bool,
    /// `brute__send_possible`, as for DDoS; default on.
    pub send_possible: bool,
}

/// Seconds of an interval that nobody set.
const INTERVAL_SECONDS: u32 = 10;
/// Requests of `brute__max_val` that nobody set.
const MAX_VAL: u32 = 15;

impl Default for DdosSettings {
    fn default() -> Self {
        Self {
            enable: true,
            wl_ip: Vec::new(),
            wl_url: Vec::new(),
            interval: INTERVAL_SECONDS,
            latest_only: true,
            send_possible: true,
        }
    }
}

impl Default for BruteSettings {
    fn default() -> Self {
        Self {
            enable: true,
            wl_host: Vec::new(),
            interval: INTERVAL_SECONDS,
            max_val: MAX_VAL,
            brute_detect: Vec::new(),
            flood_detect: Vec::new(),
            latest_only: true,
            send_possible: true,
        }
    }
}

impl MlcSettings {
    /// Understands settings given by name and value; every bad value is reported.
    ///
    /// # Errors
    /// Values that are not what the name asks for.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (MlcKey, &'a MlcValue)>,
    ) -> Result<Self, Vec<Invalid>> {
        let mut settings = Self::default();
        let mut refused = Vec::new();
        for (key, value) in pairs {
            refused.extend(settings.replace(key, value).err().unwrap_or_default());
        }
        if refused.is_empty() { Ok(settings) } else { Err(refused) }
    }

    fn replace(&mut self, key: MlcKey, value: &MlcValue) -> Result<(), Vec<Invalid>> {
        let (ddos, brute) = (&mut self.ddos, &mut self.brute);
        match key {
            MlcKey::AiExtra => self.ai_extra = value.flag(key)?,
            MlcKey::DdosEnable => ddos.enable = value.flag(key)?,
            MlcKey::DdosWlIp => ddos.wl_ip = value.list(key)?,
            MlcKey::DdosWlUrl => ddos.wl_url = value.list(key)?,
            MlcKey::DdosInterval => ddos.interval = value.number(key, MLC_INTERVAL_SECONDS)?,
            MlcKey::DdosLatestOnly => ddos.latest_only = value.flag(key)?,
            MlcKey::DdosSendPossible => ddos.send_possible = value.flag(key)?,
            MlcKey::BruteEnable => brute.enable = value.flag(key)?,
            MlcKey::BruteWlHost => brute.wl_host = value.list(key)?,
            MlcKey::BruteInterval => brute.interval = value.number(key, MLC_INTERVAL_SECONDS)?,
            MlcKey::BruteMaxVal => brute.max_val = value.number(key, MLC_MAX_VAL)?,
            MlcKey::BruteBruteDetect => brute.brute_detect = value.places(key)?,
            MlcKey::BruteFloodDetect => brute.flood_detect = value.places(key)?,
            MlcKey::BruteLatestOnly => brute.latest_only = value.flag(key)?,
            MlcKey::BruteSendPossible => brute.send_possible = value.flag(key)?,
        }
        Ok(())
    }

    /// The value in force of a setting, set or by default.
    pub fn value(&self, key: MlcKey) -> MlcValue {
        fn texts<T: ToString>(list: &[T]) -> MlcValue {
            MlcValue::List(list.iter().map(ToString::to_string).collect())
        }
        let number = |number: u32| MlcValue::Number(number.into());
        match key {
            MlcKey::AiExtra => MlcValue::Flag(self.ai_extra),
            MlcKey::DdosEnable => MlcValue::Flag(self.ddos.enable),
            MlcKey::DdosWlIp => texts(&self.ddos.wl_ip),
            MlcKey::DdosWlUrl => texts(&self.ddos.wl_url),
            MlcKey::DdosInterval => number(self.ddos.interval),
            MlcKey::DdosLatestOnly => MlcValue::Flag(self.ddos.latest_only),
            MlcKey::DdosSendPossible => MlcValue::Flag(self.ddos.send_possible),
            MlcKey::BruteEnable => MlcValue::Flag(self.brute.enable),
            MlcKey::BruteWlHost => texts(&self.brute.wl_host),
            MlcKey::BruteInterval => number(self.brute.interval),
            MlcKey::BruteMaxVal => number(self.brute.max_val),
            MlcKey::BruteBruteDetect => texts(&self.brute.brute_detect),
            MlcKey::BruteFloodDetect => texts(&self.brute.flood_detect),
            MlcKey::BruteLatestOnly => MlcValue::Flag(self.brute.latest_only),
            MlcKey::BruteSendPossible => MlcValue::Flag(self.brute.send_possible),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> MlcInput {
        MlcInput::Text(text.to_owned())
    }

    fn texts(texts: &[&str]) -> MlcInput {
        MlcInput::Texts(texts.iter().map(|t| (*t).to_owned()).collect())
    }

    fn parse(pairs: &[(MlcKey, MlcInput)]) -> Result<MlcSettings, Vec<Invalid>> {
        let mut values = Vec::new();
        for (key, input) in pairs {
            values.push((*key, MlcValue::parse(*key, input)?));
        }
        MlcSettings::parse(values.iter().map(|(key, value)| (*key, value)))
    }

    #[test]
    fn the_samples_of_the_specification_are_understood() {
        let settings = parse(&[
            (MlcKey::AiExtra, text("true")),
            (MlcKey::DdosEnable, text("false")),
            (MlcKey::DdosWlIp, texts(&["127.0.0.1", "192.168.1.0/24"])),
            (
                MlcKey::DdosWlUrl,
                texts(&["example.com/feed", "*.example.com/feed", "*/feed", "a.b"]),
            ),
            (MlcKey::DdosInterval, text("11")),
            (MlcKey::BruteWlHost, texts(&["example.com", ".example.org", "*.example.us"])),
            (MlcKey::BruteMaxVal, MlcInput::Number(16)),
            (MlcKey::BruteBruteDetect, texts(&["example.com/auth", ".example.com/auth"])),
            (MlcKey::BruteFloodDetect, texts(&["*.example.com/auth"])),
            (MlcKey::BruteSendPossible, MlcInput::Flag(false)),
        ])
        .unwrap();
        assert!(settings.ai_extra && !settings.ddos.enable && !settings.brute.send_possible);
        assert_eq!((settings.ddos.interval, settings.brute.max_val), (11, 16));
        assert_eq!(settings.ddos.wl_ip.len(), 2);
        assert_eq!(settings.ddos.wl_url[3].path, None);
        assert_eq!(settings.brute.brute_detect[1].path.as_deref(), Some(&b"/auth"[..]));
        assert!(settings.brute.latest_only);
    }

    #[test]
    fn what_is_not_set_has_its_default() {
        let settings = MlcSettings::default();
        assert_eq!(MlcSettings::parse([]).unwrap(), settings);
        assert_eq!((settings.brute.interval, settings.brute.max_val), (10, 15));
        assert!(!settings.ai_extra && settings.ddos.enable && settings.brute.enable);
    }

    #[test]
    fn the_values_in_force_are_values_again() {
        let settings = parse(&[
            (MlcKey::AiExtra, text("true")),
            (MlcKey::DdosWlIp, text("10.0.0.0/8 ::1")),
            (MlcKey::BruteBruteDetect, text("a.com/x, .b.com/y")),
            (MlcKey::BruteInterval, text("3600")),
        ])
        .unwrap();
        let values = MlcKey::ALL.map(|key| (key, settings.value(key)));
        let again = MlcSettings::parse(values.iter().map(|(key, value)| (*key, value)));
        assert_eq!(again, Ok(settings));
    }

    #[test]
    fn bad_values_name_their_setting() {
        for (key, input, reason) in [
            (MlcKey::AiExtra, text("yes"), "neither true nor false"),
            (MlcKey::AiExtra, MlcInput::Number(1), "neither true nor false"),
            (MlcKey::DdosEnable, texts(&["true"]), "neither true nor false"),
            (MlcKey::DdosInterval, text("0"), "1-3600"),
            (MlcKey::DdosInterval, text("3601"), "1-3600"),
            (MlcKey::DdosInterval, text("+10"), "not a whole number"),
            (MlcKey::DdosInterval, text("99999999999999999999"), "not a whole number"),
            (MlcKey::DdosInterval, MlcInput::Flag(true), "not a whole number"),
            (MlcKey::BruteMaxVal, text("1"), "2-1000000"),
            (MlcKey::BruteMaxVal, text(""), "not a whole number"),
            (MlcKey::DdosWlIp, text("10.0.0.0/33"), "prefix length"),
            (MlcKey::DdosWlIp, MlcInput::Number(1), "not a list"),
            (MlcKey::DdosWlUrl, text("/feed"), "no host before"),
            (MlcKey::BruteWlHost, texts(&["a..b"]), "empty label"),
            (MlcKey::BruteBruteDetect, text("example.com"), "no path"),
            (MlcKey::BruteFloodDetect, texts(&["a.com/x", "*"]), "no path"),
        ] {
            let refused = parse(&[(key, input.clone())]).unwrap_err();
            assert!(refused[0].field.starts_with(key.name()), "{key} {input:?}: {refused:?}");
            assert!(refused[0].reason.contains(reason), "{key} {input:?}: {refused:?}");
        }
    }
}
