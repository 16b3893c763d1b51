//! A clean request is decided without allocating.

use ipc::snapshot::{Bans, Beside, Meta, Snapshot, compile, compile_bans};
use policy::encoding::Decoder;
use policy::text::Scratch;
use policy::{Action, Ban, BanKind, Host, Policy, Request, Rule, RuleText, Settings};

/// One rule of each kind, and enough of them that selection has work to do.
fn policy() -> Policy {
    let text = RuleText::default();
    let kinds = [
        RuleText { url: Some("L2FkbWlu".into()), ..text.clone() },
        RuleText { args: Some("YXR0YWNr&!c2FmZQ==".into()), ..text.clone() },
        RuleText { ua: Some("c3FsbWFw|bmlrdG8x".into()), no_cookie: true, ..text.clone() },
        RuleText { cookie: Some("ZXZpbA==".into()), lm: true, ..text.clone() },
        RuleText { referer: Some("!aHR0cA==".into()), ..text.clone() },
        RuleText { other_headers: vec![":YXR0YWNr".into(), "eA==:".into()], ..text.clone() },
        RuleText { ip: Some("9.9.9.0/24".into()), domain: Some("b.org".into()), ..text.clone() },
        RuleText { ip: Some("1.1.1.0/24".into()), country: Some("Q0g=".into()), ..text.clone() },
        RuleText {
            domain: Some("*.example.com".into()),
            args: Some("eA==".into()),
            ..text.clone()
        },
        RuleText { country: Some("REU=".into()), body: Some("eA==".into()), ..text.clone() },
        RuleText { body: Some("ZXZpbD0x".into()), ..text },
    ];
    let settings = [
        ("nwaf_ip_wl", "domain=.white.org 1.1.1.1"),
        ("nwaf_ip_lm", "8.8.8.8"),
        ("nwaf_host_wl", "white.example.com"),
        ("nwaf_host_lm", "*.passive.org"),
        ("nwaf_limit", "rate=5r/m block_time=60, domain=.example.com rate=1r/s block_time=0"),
        ("nwaf_body_exclude", "a.example.com/upload"),
    ];
    Policy {
        settings: Settings::parse(settings).unwrap(),
        block_list: (0..1_000)
            .map(|n| format!("10.{}.{}.1", n / 256, n % 256).parse().unwrap())
            .collect(),
        rules: (1..=700)
            .map(|id| Rule::parse(id, &kinds[id as usize % kinds.len()]).unwrap())
            .collect(),
        ..Policy::default()
    }
}

#[test]
fn a_clean_request_allocates_nothing() {
    let bytes = compile(&policy(), Meta::default()).unwrap();
    let snapshot = Snapshot::from_bytes(&bytes).unwrap();
    let ban = Ban {
        range: "9.9.9.9".parse().unwrap(),
        domain: policy::HostPattern::Any,
        kind: BanKind::Flood,
        rule: 0,
        until: u64::MAX,
    };
    let bans = Bans::from_bytes(&compile_bans(&[ban], Meta::default()).unwrap()).unwrap();
    let headers = vec![
        ("Host", "a.example.com"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("Accept", "*/*"),
        ("Cookie", "a=b%20c; d=e"),
        ("Referer", "http://a.example.com/"),
    ];
    let target = b"/shop/%C3%BC/../list//x?q=a+b&page=3";
    let request = Request {
        address: Some("1.1.1.1".parse().unwrap()),
        country: Some(*b"DE"),
        body: Some(b"a=b+c"),
        ..Request::new(Host::normalised(b"a.example.com"), target, &headers)
    };
    // What the policy does not give may come from nginx's configuration.
    let settings = [("nwaf_put_body_exclude", ".example.com"), ("nwaf_rmq_host_exclude", "*")];
    let local = Policy { settings: Settings::parse(settings).unwrap(), ..Policy::default() };
    let local = Snapshot::from_bytes(&compile(&local, Meta::default()).unwrap()).unwrap();
    let beside = Beside { local: Some(&local), ..Beside::bans(&bans) };
    let mut scratch = Scratch::default();
    // The first request makes the buffers that later ones find.
    assert_eq!(snapshot.evaluate(&beside, &request, &mut scratch).action, Action::Pass);
    let used = allocation_counter::measure(|| {
        for _ in 0..100 {
            assert_eq!(snapshot.evaluate(&beside, &request, &mut scratch).action, Action::Pass);
        }
    });
    assert_eq!(used.count_total, 0, "{used:?}");
    // The counter itself counts.
    assert!(allocation_counter::measure(|| drop(std::hint::black_box(vec![1u8]))).count_total > 0);
}

#[test]
fn a_clean_body_allocates_nothing_whatever_it_holds() {
    let bytes = compile(&policy(), Meta::default()).unwrap();
    let snapshot = Snapshot::from_bytes(&bytes).unwrap();
    // "a=b\u0063+%64", by gzip without compression.
    let mut packed = b"\x1f\x8b\x08\0\0\0\0\0\0\0\x01\x0d\0\xf2\xffa=b\\u0063+%64".to_vec();
    packed.extend_from_slice(&[0; 8]);
    let part = b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nYT1i\r\n--b--";
    let mut decoder = Decoder::default();
    let mut scratch = Scratch::default();
    let requests = [
        (vec![("Content-Type", "application/json")], &br#"{"a":"\u0063%64"}"#[..]),
        (vec![("Content-Type", "text/xml")], b"<a>&#99;%64<![CDATA[c]]></a>"),
        (vec![("Content-Type", "multipart/form-data; boundary=b")], part),
        (vec![("Content-Type", "text/plain")], b"\xff\xfe<\0a\0>\0"),
        (vec![("Content-Encoding", "gzip"), ("Content-Type", "text/json")], &packed),
    ];
    let mut all = || {
        for (headers, body) in &requests {
            let decoded = decoder.decode(headers, body, 1_000);
            assert_eq!(decoded.gap, None);
            assert_eq!(decoded.text.is_some(), headers.len() == 2);
            let request = Request {
                body: Some(body),
                decoded_body: decoded.text,
                ..Request::new(Host::normalised(b"a.example.com"), b"/", headers)
            };
            assert_eq!(
                snapshot.evaluate(&Beside::default(), &request, &mut scratch).action,
                Action::Pass
            );
        }
    };
    all();
    let used = allocation_counter::measure(|| (0..100).for_each(|_| all()));
    assert_eq!(used.count_total, 0, "{used:?}");
}
