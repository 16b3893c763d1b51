//! Values that are refused, each with its field, the value, the reason and the
//! remedy; and values that look bad and have a meaning, each with that meaning.

use policy::{
    AddressEntry, Danger, Host, HostPattern, Invalid, Key, Policy, Rule, RuleText, Settings,
    danger, list,
};

/// What is said about a refused value.
struct Said {
    /// The field, in full.
    field: &'static str,
    /// The value, in full.
    value: &'static str,
    /// Words of the reason.
    reason: &'static str,
    /// Words of the remedy.
    remedy: &'static str,
}

fn said(
    field: &'static str,
    value: &'static str,
    reason: &'static str,
    remedy: &'static str,
) -> Said {
    Said { field, value, reason, remedy }
}

/// Checks that exactly one value is refused, and how.
fn check<T: std::fmt::Debug>(input: &str, outcome: Result<T, Vec<Invalid>>, said: &Said) {
    let refused = outcome.expect_err(&format!("{input:?} is accepted"));
    let [only] = refused.as_slice() else { panic!("{input:?}: {refused:?}") };
    assert_eq!(only.field, said.field, "{input:?}: {only}");
    assert_eq!(only.value, said.value, "{input:?}: {only}");
    assert!(only.reason.contains(said.reason), "{input:?}: {only}");
    assert!(only.remedy.contains(said.remedy) && !only.remedy.is_empty(), "{input:?}: {only}");
    for part in [&only.field, &only.reason, &only.remedy] {
        assert!(only.to_string().contains(part), "{only}");
    }
}

fn setting(name: &str, value: &str) -> Result<Settings, Vec<Invalid>> {
    Settings::parse([(name, value)])
}

#[test]
fn addresses() {
    const ADDRESS: &str = "192.0.2.0/24";
    const ENTRY: &str = "domain=<pattern>";
    const HOST: &str = "*.example.com";
    for (entry, value, reason, remedy) in [
        ("1.1.1", "1.1.1", "\"1.1.1\" is not an IP address", ADDRESS),
        ("1.1.1.256", "1.1.1.256", "not an IP address", ADDRESS),
        ("01.1.1.1", "01.1.1.1", "not an IP address", ADDRESS),
        ("1.1.1.1:80", "1.1.1.1:80", "not an IP address", ADDRESS),
        ("[::1]", "[::1]", "not an IP address", ADDRESS),
        ("fe80::1%eth0", "fe80::1%eth0", "not an IP address", ADDRESS),
        ("example.com", "example.com", "not an IP address", ADDRESS),
        ("*", "*", "not an IP address", ADDRESS),
        ("1.1.1.0/33", "1.1.1.0/33", "IPv4 network is 0-32", ADDRESS),
        ("1.1.1.0/-1", "1.1.1.0/-1", "0-32", ADDRESS),
        ("1.1.1.0/+8", "1.1.1.0/+8", "0-32", ADDRESS),
        ("1.1.1.0/", "1.1.1.0/", "0-32", ADDRESS),
        ("1.1.1.0/8/8", "1.1.1.0/8/8", "0-32", ADDRESS),
        ("1.1.1.0/255.0.0.0", "1.1.1.0/255.0.0.0", "0-32", ADDRESS),
        ("1.1.1.0/24-1.1.2.0/24", "1.1.1.0/24-1.1.2.0/24", "0-32", ADDRESS),
        ("2001:db8::/129", "2001:db8::/129", "IPv6 network is 0-128", ADDRESS),
        ("5.5.5.5-4.4.4.4", "5.5.5.5-4.4.4.4", "above the last", ADDRESS),
        ("::2-::1", "::2-::1", "above the last", ADDRESS),
        ("1.1.1.1-::1", "1.1.1.1-::1", "different families", ADDRESS),
        ("2001:db8::1-2.2.2.2", "2001:db8::1-2.2.2.2", "different families", ADDRESS),
        ("1.1.1.1-", "1.1.1.1-", "\"\" is not an IP address", ADDRESS),
        ("-1.1.1.1", "-1.1.1.1", "\"\" is not an IP address", ADDRESS),
        ("1.1.1.1-9", "1.1.1.1-9", "\"9\" is not an IP address", ADDRESS),
        ("", "", "no address", ENTRY),
        ("domain=a.com", "domain=a.com", "no address", ENTRY),
        ("1.1.1.1 2.2.2.2", "1.1.1.1 2.2.2.2", "another of its kind", ENTRY),
        ("domain=a domain=b ::1", "domain=a domain=b ::1", "another of its kind", ENTRY),
        ("::1 api=yes api=no", "::1 api=yes api=no", "another of its kind", ENTRY),
        ("::1 api=true", "::1 api=true", "neither api=yes nor api=no", ENTRY),
        ("::1 host=a.com", "::1 host=a.com", "unknown option \"host=a.com\"", ENTRY),
        ("domain= 1.1.1.1", "", "empty", HOST),
        ("domain=a..b 1.1.1.1", "a..b", "empty label", HOST),
        ("domain=*.*.com 1.1.1.1", "*.*.com", "first label", HOST),
    ] {
        let (single, at) = ([entry], said("bl[0]", value, reason, remedy));
        check(entry, list::parse_each::<AddressEntry>("bl", single), &at);
        if entry.is_empty() {
            continue; // an empty setting is an empty list
        }
        for (key, field) in [(Key::IpWl, "nwaf_ip_wl[1]"), (Key::IpLm, "nwaf_ip_lm[1]")] {
            let value = format!("9.9.9.9, {entry} ,8.8.8.8");
            check(&value, setting(key.name(), &value), &Said { field, ..at });
        }
    }
    for (value, field) in [("1.1.1.1,,2.2.2.2", "nwaf_ip_wl[1]"), ("1.1.1.1,", "nwaf_ip_wl[1]")] {
        check(value, setting("nwaf_ip_wl", value), &said(field, "", "no address", ENTRY));
    }
}

#[test]
fn hosts() {
    const FORMS: &str = "*, example.com, .example.com";
    for (pattern, reason, remedy) in [
        (".", "empty label", FORMS),
        ("*.", "empty label", FORMS),
        ("..a.com", "empty label", FORMS),
        ("a..com", "empty label", FORMS),
        ("a.com..", "empty label", FORMS),
        ("**", "first label", FORMS),
        ("*a.com", "first label", FORMS),
        ("a.*.com", "first label", FORMS),
        ("*:80", "first label", FORMS),
        ("a b.com", "' ' cannot stand", FORMS),
        ("a;b.com", "';' cannot stand", FORMS),
        ("a%2e.com", "'%' cannot stand", FORMS),
        ("a\u{0}.com", "'\\0' cannot stand", FORMS),
        ("a.com/x", "no scheme and no path", FORMS),
        ("https://a.com", "no scheme and no path", FORMS),
        ("a.com:", "port is not a number of 1-65535", FORMS),
        ("a.com:0", "port is not a number", FORMS),
        ("a.com:65536", "port is not a number", FORMS),
        ("a.com:+80", "port is not a number", FORMS),
        ("a.com:80:80", "port is not a number", FORMS),
        ("[::1", "brackets", FORMS),
        ("[::1]:0", "brackets", FORMS),
        ("[::1]x", "brackets", FORMS),
        ("[fe80::1%eth0]", "brackets", FORMS),
        ("[1.2.3.4]", "brackets", FORMS),
        ("*.[::1]", "brackets", FORMS),
        ("пример.рф", "ASCII", "punycode"),
        ("*.bücher.example", "ASCII", "punycode"),
        ("example。com", "ASCII", "punycode"),
    ] {
        let lists = Key::ALL.into_iter().filter(|key| policy::HostLists::of(*key).is_some());
        for key in lists {
            let value = format!("a.com, {pattern}");
            let refused = setting(key.name(), &value).expect_err(pattern);
            assert_eq!(refused.len(), 1);
            assert_eq!(refused[0].field, format!("{key}[1]"), "{pattern}");
        }
        let at = said("nwaf_host_wl[0]", pattern, reason, remedy);
        check(pattern, setting("nwaf_host_wl", pattern), &at);
        let limit = format!("rate=1r/m block_time=1 domain={pattern}");
        if !pattern.contains(' ') {
            check(&limit, setting("nwaf_limit", &limit), &Said { field: "nwaf_limit[0]", ..at });
        }
        if !pattern.contains('/') {
            let body = format!("{pattern}/x");
            let field = "nwaf_body_exclude[0]";
            check(&body, setting("nwaf_body_exclude", &body), &Said { field, ..at });
        }
    }
    check("a,,b", setting("nwaf_host_lm", "a,,b"), &said("nwaf_host_lm[1]", "", "empty", FORMS));
}

#[test]
fn limits() {
    const REMEDY: &str = "rate=5r/m block_time=600";
    for (entry, reason) in [
        ("rate=5r/m", "block_time is missing"),
        ("block_time=600", "rate is missing"),
        ("rate=5 block_time=1", "does not end in r/m or r/s"),
        ("rate=5r/h block_time=1", "does not end in r/m or r/s"),
        ("rate=5R/M block_time=1", "does not end in r/m or r/s"),
        ("rate=r/m block_time=1", "number of 1-1000000"),
        ("rate=0r/m block_time=1", "number of 1-1000000"),
        ("rate=-5r/m block_time=1", "number of 1-1000000"),
        ("rate=+5r/m block_time=1", "number of 1-1000000"),
        ("rate=5.5r/m block_time=1", "number of 1-1000000"),
        ("rate=99999999999r/s block_time=1", "number of 1-1000000"),
        ("rate=5r/m block_time=", "number of seconds"),
        ("rate=5r/m block_time=-1", "number of seconds"),
        ("rate=5r/m block_time=10m", "number of seconds"),
        ("rate=5r/m rate=6r/m block_time=1", "rate is given twice"),
        ("rate=5r/m block_time=1 block_time=1", "block_time is given twice"),
        ("rate=5r/m block_time=1 domain=a domain=a", "domain is given twice"),
        ("rate=5r/m block_time=1 burst=5", "unknown option \"burst\""),
        ("rate=5r/m block_time=1 nodelay", "\"nodelay\" is not an option"),
        ("rate = 5r/m block_time=1", "\"rate\" is not an option"),
    ] {
        let at = said("nwaf_limit[0]", entry, reason, REMEDY);
        check(entry, setting("nwaf_limit", entry), &at);
    }
    let twice = "rate=1r/m block_time=1, domain=A.com rate=1r/m block_time=1, domain=a.com. rate=2r/m block_time=1";
    let value = "domain=a.com rate=2r/m block_time=1";
    let at = said("nwaf_limit[2]", value, "a.com has another entry", "one entry for each domain");
    check(twice, setting("nwaf_limit", twice), &at);
}

#[test]
fn paths_of_bodies() {
    const REMEDY: &str = "host/path";
    for (entry, reason) in [
        ("example.com", "no path"),
        ("**", "no path"),
        ("/uploads", "no host"),
        ("example.com/a?b", "no query and no fragment"),
        ("example.com/a#b", "no query and no fragment"),
        ("example.com/a\u{7}", "control character"),
    ] {
        let at = said("nwaf_body_exclude[0]", entry, reason, REMEDY);
        check(entry, setting("nwaf_body_exclude", entry), &at);
    }
    let value = "example.com/a,b";
    let at = said("nwaf_body_exclude[1]", "b", "no path", REMEDY);
    check(value, setting("nwaf_body_exclude", value), &at);
}

#[test]
fn names_of_settings() {
    for name in ["nwaf_unknown", "NWAF_LIMIT", "nwaf_limit ", "", "active"] {
        let refused = setting(name, "*").expect_err(name);
        assert_eq!((refused[0].field.as_str(), refused[0].value.as_str()), (name, name));
        assert!(refused[0].reason.contains("no such setting"));
        assert!(Key::ALL.into_iter().all(|key| refused[0].remedy.contains(key.name())));
    }
}

#[test]
fn every_bad_value_is_named_and_one_refuses_all() {
    let refused = Settings::parse([
        ("nwaf_host_lm", "good.com"),
        ("nwaf_ip_wl", "1.1.1.1, x, 2.2.2.2, y"),
        ("nwaf_limit", "rate=1r/m"),
        ("nwaf_x", "1"),
    ])
    .unwrap_err();
    let fields: Vec<_> = refused.iter().map(|why| why.field.as_str()).collect();
    assert_eq!(fields, ["nwaf_ip_wl[1]", "nwaf_ip_wl[3]", "nwaf_limit[0]", "nwaf_x"]);
}

/// Puts one expression into the field of a rule with this name.
fn rule_with(field: &str, expression: &str) -> Result<Rule, Vec<Invalid>> {
    let mut text = RuleText::default();
    let place = match field {
        "ip" => &mut text.ip,
        "domain" => &mut text.domain,
        "country" => &mut text.country,
        "url" => &mut text.url,
        "args" => &mut text.args,
        "body" => &mut text.body,
        "cookie" => &mut text.cookie,
        "ua" => &mut text.ua,
        "referer" => &mut text.referer,
        _ => {
            text.other_headers.push(expression.into());
            return Rule::parse(1, &text);
        }
    };
    *place = Some(expression.into());
    Rule::parse(1, &text)
}

#[test]
fn expressions_with_missing_and_surplus_operators() {
    const OPERATORS: &str = "& and |";
    for (field, good) in [
        ("ip", "1.1.1.1"),
        ("domain", "YS5jb20="),
        ("country", "Q0g="),
        ("url", "YQ=="),
        ("args", "YQ=="),
        ("body", "YQ=="),
        ("cookie", "YQ=="),
        ("ua", "YQ=="),
        ("referer", "YQ=="),
    ] {
        let after = good.len() + 2;
        for (expression, place) in [
            ("!".to_owned(), 1),
            ("&".to_owned(), 1),
            ("|".to_owned(), 1),
            ("! &".to_owned(), 1),
            (format!("{good}||{good}"), after),
            (format!("{good}&&{good}"), after),
            (format!("{good}&|{good}"), after),
            (format!("{good}&"), after),
            (format!("{good}|!"), after),
            (format!("|{good}"), 1),
        ] {
            let refused = rule_with(field, &expression).expect_err(&expression);
            let [only] = refused.as_slice() else { panic!("{refused:?}") };
            assert_eq!((only.field.as_str(), only.value.as_str()), (field, expression.as_str()));
            let reason = format!("operand is missing at character {place}");
            assert!(only.reason.contains(&reason), "{field} {expression:?}: {only}");
            assert!(only.remedy.contains(OPERATORS), "{only}");
        }
        for expression in [format!("!!{good}"), format!("! !{good}"), format!("{good}!{good}")] {
            let refused = rule_with(field, &expression).expect_err(&expression);
            assert_eq!(refused[0].field, field);
            assert!(refused[0].reason.contains('!') && refused[0].remedy.contains("single !"));
        }
        assert!(rule_with(field, &format!(" ! {good} & {good} ")).is_ok(), "{field}");
    }
}

#[test]
fn values_of_rules() {
    const BASE64: &str = "as base64";
    const HOST: &str = "*.example.com";
    const COUNTRY: &str = "Q0g= for CH";
    for (field, expression, value, reason, remedy) in [
        ("ip", "1.1.1.1|x", "x", "not an IP address", "192.0.2.0/24"),
        ("ip", "MS4xLjEuMQ==", "MS4xLjEuMQ==", "not an IP address", "192.0.2.0/24"),
        ("ip", "1.1.1.1,2.2.2.2", "1.1.1.1,2.2.2.2", "not an IP address", "192.0.2.0/24"),
        ("url", "/admin!", "/admin!", "! inside the operand", "single !"),
        ("url", "admin", "admin", "not base64", BASE64),
        ("url", "YQ==|abc", "abc", "not base64", BASE64),
        ("args", "YQ", "YQ", "not base64", BASE64),
        ("args", "YR==", "YR==", "not base64", BASE64),
        ("body", "YQ==YQ==", "YQ==YQ==", "not base64", BASE64),
        ("cookie", "_w==", "_w==", "not base64", BASE64),
        ("ua", "Y Q==", "Y Q==", "not base64", BASE64),
        ("referer", "====", "====", "not base64", BASE64),
        ("domain", "YS4uYg==", "a..b", "empty label", HOST),
        ("domain", "a..b", "a..b", "empty label", HOST),
        ("domain", "0L8u0YDRhA==", "п.рф", "ASCII", "punycode"),
        ("domain", "п.рф", "п.рф", "ASCII", "punycode"),
        ("domain", "/w==", "/w==", "no scheme and no path", HOST),
        ("country", "RU", "RU", "not base64", BASE64),
        ("country", "Q0hF", "Q0hF", "\"CHE\" is not a country code", COUNTRY),
        ("country", "MUE=", "MUE=", "\"1A\" is not a country code", COUNTRY),
        ("country", "/w==", "/w==", "is not a country code", COUNTRY),
        ("country", "Kg==", "Kg==", "\"*\" is not a country code", COUNTRY),
    ] {
        check(expression, rule_with(field, expression), &said(field, value, reason, remedy));
    }
}

#[test]
fn conditions_on_headers() {
    const FORMS: &str = "!!name: for absence";
    for (condition, reason) in [
        ("", "no colon"),
        ("aA==", "no colon"),
        (":", "neither a name nor a value"),
        (" : ", "neither a name nor a value"),
        ("!!:", "neither a name nor a value"),
        ("!!:YQ==", "neither a name nor a value"),
        ("!aA==:", "a name is negated with !!"),
        ("!!!aA==:", "a name is negated with !!"),
        ("YSBi:", "no spaces, colons or control"),
        ("YTpi:", "no spaces, colons or control"),
        ("YQA=:YQ==", "no spaces, colons or control"),
        ("YX8=:YQ==", "no spaces, colons or control"),
        ("Q29va2ll:YQ==", "use the fields cookie"),
        ("!!Q09PS0lF:", "no_cookie"),
        ("dXNlci1hZ2VudA==:", "ua"),
        ("UmVmZXJlcg==:YQ==", "referer"),
    ] {
        let at = said("other_headers[0]", condition, reason, FORMS);
        check(condition, rule_with("other_headers", condition), &at);
    }
    for (condition, value, reason) in [
        ("hosts:YQ==", "hosts", "not base64"),
        ("aA==:abc", "abc", "not base64"),
        ("aA==:YQ==:Yg==", "YQ==:Yg==", "not base64"),
        ("aA==:YQ==||Yg==", "YQ==||Yg==", "operand is missing at character 6"),
        ("aA==:!", "!", "operand is missing at character 1"),
        (":!", "!", "operand is missing at character 1"),
        ("aA==:!!YQ==", "!!YQ==", "absence of a header"),
    ] {
        let at = said("other_headers[0]", value, reason, "");
        check(condition, rule_with("other_headers", condition), &at);
    }
    let text = RuleText {
        other_headers: vec!["aA==:".into(), "x".into(), ":".into()],
        ..RuleText::default()
    };
    let refused = Rule::parse(1, &text).unwrap_err();
    let fields: Vec<_> = refused.iter().map(|why| why.field.as_str()).collect();
    assert_eq!(fields, ["other_headers[1]", "other_headers[2]"]);
}

#[test]
fn rules_without_a_condition() {
    let only = |change: fn(&mut RuleText)| {
        let mut text = RuleText::default();
        change(&mut text);
        Rule::parse(1, &text)
    };
    let at = said("rule", "", "no condition", "at least one of ip, domain");
    check("nothing", only(|_| {}), &at);
    check("flags", only(|text| (text.lm, text.api, text.noban) = (true, false, true)), &at);
    check("spaces", only(|text| text.url = Some(" ".into())), &at);
    check("an empty domain", only(|text| text.domain = Some(String::new())), &at);
    assert!(only(|text| text.no_cookie = true).is_ok());
}

#[test]
fn every_bad_field_of_a_rule_is_named() {
    let bad = || Some("!".to_owned());
    let text = RuleText {
        ip: bad(),
        domain: bad(),
        country: bad(),
        url: bad(),
        args: bad(),
        body: bad(),
        cookie: bad(),
        ua: bad(),
        referer: bad(),
        other_headers: vec!["!".into()],
        ..RuleText::default()
    };
    let fields: Vec<_> =
        Rule::parse(1, &text).unwrap_err().into_iter().map(|why| why.field).collect();
    assert_eq!(
        fields.join(" "),
        "ip domain country url args body cookie ua referer other_headers[0]"
    );
}

#[test]
fn what_covers_everybody_is_accepted_and_asks_for_force() {
    let listed = |entries: &[&str]| {
        let block_list = list::parse_each("bl", entries.iter().copied()).unwrap();
        danger(&Policy { block_list, ..Policy::default() })
    };
    for (entries, expected) in [
        (&["0.0.0.0/0"][..], Some(Danger::BlocksAllV4)),
        (&["9.9.9.9/0"], Some(Danger::BlocksAllV4)),
        (&["0.0.0.0-255.255.255.255"], Some(Danger::BlocksAllV4)),
        (&["::ffff:0:0/96"], Some(Danger::BlocksAllV4)),
        (&["domain=* 0.0.0.0/0"], Some(Danger::BlocksAllV4)),
        (&["0.0.0.0/2", "64.0.0.0/2", "1.1.1.1", "128.0.0.0/1"], Some(Danger::BlocksAllV4)),
        (&["::/0"], Some(Danger::BlocksAllV6)),
        (&["8000::/1", "::/1"], Some(Danger::BlocksAllV6)),
        (&["domain=example.com 0.0.0.0/0"], None),
        (&["0.0.0.0/1", "128.0.0.0-255.255.255.254"], None),
        (&["::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], None),
    ] {
        assert_eq!(listed(entries), expected, "{entries:?}");
    }
    for (key, value, expected) in [
        (Key::IpWl, "0.0.0.0/0", Some(Danger::StopsNobody(Key::IpWl))),
        (Key::IpLm, "1.1.1.1, ::/1, 8000::/1", Some(Danger::StopsNobody(Key::IpLm))),
        (Key::IpLm, "domain=.com ::/0", None),
    ] {
        let settings = setting(key.name(), value).unwrap();
        assert_eq!(danger(&Policy { settings, ..Policy::default() }), expected, "{key} {value}");
    }
    for (field, expression, is_dangerous) in [
        ("ip", "0.0.0.0/0", true),
        ("ip", "::/0", true),
        ("ip", "!1.1.1.1|1.1.1.1", true),
        ("ip", "0.0.0.0/0&!1.1.1.1", false),
        ("domain", "*", true),
        ("domain", ".com", false),
        ("url", "Lw==", false),
    ] {
        let rules = vec![rule_with(field, expression).unwrap()];
        let expected = is_dangerous.then_some(Danger::RuleBlocksAll(1));
        assert_eq!(danger(&Policy { rules, ..Policy::default() }), expected, "{expression}");
    }
}

#[test]
fn what_looks_bad_and_has_a_meaning() {
    let same = |odd: &str, plain: &str| {
        assert_eq!(odd.parse::<AddressEntry>().expect(odd), plain.parse().unwrap(), "{odd}");
    };
    same("1.1.1.77/24", "1.1.1.0/24");
    same("1.1.1.1/32", "1.1.1.1");
    same("1.1.1.1-1.1.1.1", "1.1.1.1");
    same("  1.1.1.1 - 1.1.1.9  ", "1.1.1.1-1.1.1.9");
    same("::ffff:1.2.3.4", "1.2.3.4");
    same("::FFFF:102:304/128", "1.2.3.4");
    same("0:0:0:0:0:0:0:1", "::1");
    same("::1.2.3.4", "::102:304");
    same("1.1.1.1 domain=A.com.:80", "domain=a.com 1.1.1.1");
    same("domain=* 1.1.1.1 api=no", "1.1.1.1");
    // It ends among the mapped addresses and is IPv6 all the same.
    same("::-::ffff:ffff:ffff", "::/80");
    let ends_among_them: AddressEntry = "::-::ffff:1.1.1.1".parse().unwrap();
    assert!(!ends_among_them.range.contains("1.1.1.1".parse().unwrap()));

    let same = |odd: &str, plain: &str| {
        assert_eq!(odd.parse::<HostPattern>().expect(odd), plain.parse().unwrap(), "{odd}");
    };
    same(" EXAMPLE.com. ", "example.com");
    same("*.Example.com:8080", "*.example.com");
    same("example.com.:65535", "example.com");
    same("[2001:DB8:0::1]:443", "2001:db8::1");
    same("XN--E1AFMKFD.xn--p1ai", "xn--e1afmkfd.xn--p1ai");
    assert!("my_host-1".parse::<HostPattern>().is_ok());

    // Four letters are base64: nobody can tell them from plain text.
    assert!(rule_with("url", "/adm").is_ok());
    assert!(rule_with("other_headers", "host:YQ==").is_ok());
    // The specification: what follows !!name: is ignored.
    assert!(rule_with("other_headers", "!!aA==:no base64").is_ok());
    // Bytes are bytes: no text in any encoding, and a name no RFC allows.
    assert!(rule_with("url", "/w==").is_ok());
    assert!(rule_with("other_headers", "eCF5/w==:/w==").is_ok());

    let twice = setting("nwaf_host_wl", "a.com, A.COM, .a.com, *.a.com").unwrap();
    assert_eq!(twice.hosts[&Key::HostWl].len(), 4, "the same twice is no mistake");
    let overlapping = "1.1.1.1, 1.1.1.1, 1.1.1.0/24, 1.1.1.0-1.1.1.9, 1.1.2.0/24";
    assert_eq!(setting("nwaf_ip_wl", overlapping).unwrap().ip_wl.len(), 5);
    assert_eq!(setting("nwaf_ip_wl", "  ").unwrap().ip_wl, [], "an empty list is a list");
}

#[test]
fn hosts_of_requests_are_never_refused() {
    let normal = |raw: &[u8]| Host::normalise(raw).into_owned();
    assert_eq!(normal(b"EXAMPLE.com.:8080"), b"example.com");
    assert_eq!(normal(b"example.com:"), b"example.com");
    assert_eq!(normal(b"[2001:DB8:0::1]:80"), b"[2001:db8::1]");
    assert_eq!(normal(b"[not an address]:80"), b"[not an address]:80");
    assert_eq!(normal(b"[::1"), b"[::1");
    assert_eq!(normal(b""), b"");
    assert_eq!(normal(b":80"), b"");
    assert_eq!(normal(b"\xff\xfe.COM"), b"\xff\xfe.com");
    let long = [b"A".repeat(70_000), b".example.com".to_vec()].concat();
    let (host, pattern) = (normal(&long), ".example.com".parse::<HostPattern>().unwrap());
    assert_eq!(host.len(), long.len());
    assert!(pattern.matches(Host::normalised(&host)));
    assert!(HostPattern::Any.matches(Host::normalised(b"")));
    assert!(!pattern.matches(Host::normalised(b"")));
}
