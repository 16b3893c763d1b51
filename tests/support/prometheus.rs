//! A strict reader of Prometheus' text format, version 0.0.4, as `promtool check
//! metrics` is one: whatever a scraper might read in another way is refused.

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a sample, by name.
pub type Labels = BTreeMap<String, String>;

/// One metric with its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// `counter` or `gauge`.
    pub kind: String,
    /// What it is, for people.
    pub help: String,
    /// Its values.
    pub samples: Vec<(Labels, f64)>,
}

/// A page, by name of the metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics(pub BTreeMap<String, Family>);

impl Metrics {
    /// Reads a page.
    ///
    /// # Errors
    /// The first line that breaks a rule, with the rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("the last line does not end".into());
        }
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let at = |why: &str| format!("{line:?}: {why}");
            let head =
                line.strip_prefix("# HELP ").ok_or_else(|| at("not preceded by its HELP"))?;
            let (name, help) = head.split_once(' ').ok_or_else(|| at("HELP without a text"))?;
            if !is_name(name, ":") || help.trim() != help || help.is_empty() {
                return Err(at("not a name and a text"));
            }
            if help.replace("\\\\", "").replace("\\n", "").contains('\\') {
                return Err(at("a backslash that escapes nothing"));
            }
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let (named, kind) =
                kind.and_then(|rest| rest.split_once(' ')).ok_or_else(|| at("no TYPE follows"))?;
            if named != name || !["counter", "gauge"].contains(&kind) {
                return Err(at("TYPE is of another metric, or unknown"));
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err(at("counters, and nothing else, end in _total"));
            }
            let mut samples: Vec<(Labels, f64)> = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (labels, value) =
                    sample(line, name).map_err(|why| format!("{line:?}: {why}"))?;
                if kind == "counter" && !(value.is_finite() && value >= 0.0) {
                    return Err(format!("{line:?}: no count"));
                }
                if samples.iter().any(|(other, _)| *other == labels) {
                    return Err(format!("{line:?}: the same labels twice"));
                }
                samples.push((labels, value));
            }
            let same_labels: BTreeSet<Vec<&String>> =
                samples.iter().map(|(labels, _)| labels.keys().collect()).collect();
            if same_labels.len() > 1 {
                return Err(at("its samples have different labels"));
            }
            let family = Family { kind: kind.into(), help: help.into(), samples };
            if families.insert(name.into(), family).is_some() {
                return Err(at("the metric comes twice"));
            }
        }
        Ok(Self(families))
    }

    /// The value of a metric with exactly these labels.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Labels =
            labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let samples = &self.0.get(name)?.samples;
        samples.iter().find(|(labels, _)| *labels == wanted).map(|(_, value)| *value)
    }

    /// The values of a metric, whatever their labels.
    pub fn values(&self, name: &str) -> Vec<f64> {
        let family = self.0.get(name);
        family
            .map(|family| family.samples.iter().map(|(_, value)| *value).collect())
            .unwrap_or_default()
    }
}

/// `name value`, or `name{label="text",...} value`, with one blank and no time.
fn sample(line: &str, name: &str) -> Result<(Labels, f64), &'static str> {
    let rest = line.strip_prefix(name).ok_or("a sample of another metric")?;
    let mut labels = Labels::new();
    let rest = match rest.strip_prefix('{') {
        None => rest,
        Some(mut rest) => loop {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a text")?;
            if !is_name(label, "") || label.starts_with("__") {
                return Err("not the name of a label");
            }
            let (text, after) = quoted(after)?;
            if labels.insert(label.into(), text).is_some() {
                return Err("a label twice");
            }
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => break after.strip_prefix('}').ok_or("the labels do not end")?,
            }
        },
    };
    let value = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    let plain = value.bytes().all(|byte| byte.is_ascii_digit() || b".-+eE".contains(&byte));
    match value.parse() {
        Ok(value) if plain => Ok((labels, value)),
        _ => Err("not a number"),
    }
}

/// A text up to its closing quote, and what follows.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut out = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((out, &text[at + 1..])),
            '\\' => out.push(match characters.next() {
                Some((_, '\\')) => '\\',
                Some((_, '"')) => '"',
                Some((_, 'n')) => '\n',
                _ => return Err("a backslash that escapes nothing"),
            }),
            other => out.push(other),
        }
    }
    Err("a text that does not end")
}

fn is_name(name: &str, further: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || further.contains(c);
    !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_reads_is_read() {
        let page = "# HELP a_total What it is.\n# TYPE a_total counter\na_total{x=\"1\",y=\"\\\"\\\\\\n{,\"} 3\n\
                    a_total{x=\"2\",y=\"\"} 4\n# HELP b Ours.\n# TYPE b gauge\nb -1.5\n";
        let metrics = Metrics::parse(page).unwrap();
        assert_eq!(metrics.get("a_total", &[("x", "1"), ("y", "\"\\\n{,")]), Some(3.0));
        assert_eq!(metrics.values("b"), [-1.5]);
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let head = "# HELP b Ours.\n# TYPE b gauge\n";
        for bad in [
            "b 1\n",
            "# HELP b Ours.\nb 1\n",
            "# TYPE b gauge\nb 1\n",
            "# HELP b Ours.\n# TYPE b total\nb 1\n",
            "# HELP b_total Ours.\n# TYPE b_total gauge\nb_total 1\n",
            "# HELP b Ours.\n# TYPE b counter\nb 1\n",
            "# HELP 1b Ours.\n# TYPE 1b gauge\n1b 1\n",
        ] {
            assert!(Metrics::parse(bad).is_err(), "{bad}");
        }
        for bad in [
            "b 1",
            "b  1\n",
            "b\n",
            "b x\n",
            "b 1 \n",
            "b 1 1700000000\n",
            "b inf\n",
            "c 1\n",
            "\n",
            "b{} 1\n",
            "b{x=\"1\"} \n",
            "b{x=\"1} 1\n",
            "b{x=1} 1\n",
            "b{x=\"\\t\"} 1\n",
            "b{x=\"1\",x=\"2\"} 1\n",
            "b{x=\"1\",} 1\n",
            "b{1x=\"1\"} 1\n",
            "b 1\nb 2\n",
            "b 1\nb{x=\"1\"} 2\n",
            "b 1\n# HELP b Ours.\n# TYPE b gauge\nb{x=\"1\"} 1\n",
        ] {
            assert!(Metrics::parse(&format!("{head}{bad}")).is_err(), "{bad}");
        }
    }
}
